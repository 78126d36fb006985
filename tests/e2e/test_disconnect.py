"""A client that leaves takes its work with it: the backend's own counters show that the cancellation arrived."""

import contextlib

import httpx2
import pytest
from openai import OpenAI

from tests.e2e.programs import PATHS, Program, ask


def settled(mock: Program) -> int:
    """How many cancellations the mock had seen before, once nothing is under way."""
    mock.await_stats(active=0)
    return mock.stats()["cancelled"]


def test_in_the_middle_of_a_stream(url: str, front: str, back: str, mocks: dict[str, Program]) -> None:
    before = settled(mocks[back])
    doc = ask(front, "mock-n9-s3", stream=True)
    with httpx2.Client(trust_env=False, timeout=30) as client, client.stream("POST", url + PATHS[front], json=doc) as answer:
        bytes_of_it = answer.iter_raw()
        assert next(bytes_of_it)
        mocks[back].await_stats(active=1)
    mocks[back].await_stats(active=0, cancelled=before + 1)


@pytest.mark.parametrize(("model", "stream"), [("mock-t600000", True), ("mock-t600000", False), ("mock-s3", False)])
def test_before_the_first_byte(url: str, front: str, back: str, mocks: dict[str, Program], model: str, stream: bool) -> None:
    """Nothing was sent yet, so no write can fail: only watching the socket tells."""
    before = settled(mocks[back])
    client = httpx2.Client(trust_env=False, timeout=httpx2.Timeout(30, read=0.5))
    with client, contextlib.suppress(httpx2.ReadTimeout):
        client.post(url + PATHS[front], json=ask(front, model, stream=stream))
        pytest.fail("it was answered")
    mocks[back].await_stats(active=0, cancelled=before + 1)


def test_the_sdks_way_to_stop_a_stream(client: OpenAI, back: str, mocks: dict[str, Program]) -> None:
    before = settled(mocks[back])
    stream = client.responses.create(model="mock-n9-s3", input="hi", stream=True)
    for event in stream:
        if event.type == "response.output_text.delta":
            break
    stream.close()
    mocks[back].await_stats(active=0, cancelled=before + 1)


def test_many_leave_at_once(url: str, front: str, back: str, mocks: dict[str, Program]) -> None:
    before = settled(mocks[back])
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(httpx2.Client(trust_env=False, timeout=30, limits=httpx2.Limits(max_connections=50)))
        streams = [stack.enter_context(client.stream("POST", url + PATHS[front], json=ask(front, "mock-n9-s1", stream=True))).iter_raw() for _ in range(20)]
        assert all(next(stream) for stream in streams)
        mocks[back].await_stats(active=20)
    mocks[back].await_stats(active=0, cancelled=before + 20)
