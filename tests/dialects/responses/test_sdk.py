"""The official SDK's accumulator, fed with our streams: it raises on wrong order, changed identities and unfinished items."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dialects.responses.rig import encode, text, thought
from trioproxy.model.events import ArgumentsDelta, Event, Failed, Finished, ItemClosed, ItemKind, ItemOpened, Metered, Started
from trioproxy.model.fault import Fault, FaultKind
from trioproxy.model.usage import FinishReason, Usage

openai = pytest.importorskip("openai")
httpx = pytest.importorskip("httpx2")

CALL: list[Event] = [ItemOpened(2, ItemKind.FUNCTION, "call_1", "add", namespace=None), ArgumentsDelta(2, '{"a":'), ArgumentsDelta(2, "1}"), ItemClosed(2)]
WHOLE: list[Event] = [Started("", "m", 1), *thought(0, "Hm", "m."), *text(1, "Hel", "lo."), *CALL, Metered(Usage(1, 2)), Finished(FinishReason.TOOL_CALLS)]


def client(raw: bytes) -> Any:
    def answer(request: Any) -> Any:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=raw)

    return openai.OpenAI(api_key="k", base_url="http://gateway.test/v1", http_client=httpx.Client(transport=httpx.MockTransport(answer)), max_retries=0)


def test_the_sdk_accumulates_a_whole_answer() -> None:
    with client(encode(*WHOLE)) as sdk, sdk.responses.stream(model="m", input="x") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert final.output_text == "Hello."
    assert final.output[2].arguments == '{"a":1}'
    assert final.usage.total_tokens == 3


def test_the_sdk_raises_on_a_fault_in_mid_stream() -> None:
    raw = encode(Started(), *text(0, "Hel"), Failed(Fault(FaultKind.RATE_LIMITED, "Slow down.")))
    with client(raw) as sdk, pytest.raises(openai.APIError, match="Slow down"):
        list(sdk.responses.create(model="m", input="x", stream=True))
