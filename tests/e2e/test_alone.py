"""A gateway without a configuration, a backend or a key answers all the same."""

from collections.abc import Iterator

import httpx2
import pytest
from openai import OpenAI

from tests.e2e.programs import Program


@pytest.fixture(scope="module")
def alone() -> Iterator[Program]:
    with Program("serve", "--listen", "127.0.0.1:0") as program:
        yield program


def test_the_first_five_minutes(alone: Program) -> None:
    """The model list leads to a model, and the model answers in both dialects, streamed and plain."""
    with OpenAI(base_url=f"{alone.url}/v1", api_key="none", max_retries=0, http_client=httpx2.Client(trust_env=False)) as client:
        model = next(iter(client.models.list())).id
        assert model == "demo"
        with client.responses.stream(model=model, input="How do tides work?") as stream:
            assert "tides" in stream.get_final_response().output_text.lower()
        completion = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "How do tides work?"}])
        assert "tides" in (completion.choices[0].message.content or "").lower()
