"""The simulated backend as a server: faults are real ones, and everything is counted."""

import math
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import trio

from tests.harness.stub import STUB
from trioproxy.harness.server import serve_mock


@pytest.fixture
async def port(nursery: trio.Nursery) -> AsyncIterator[int]:
    url: str = await nursery.start(serve_mock, "127.0.0.1:0", [STUB], math.inf)
    yield int(url.rpartition(":")[2])
    nursery.cancel_scope.cancel()


def ask(method: str, path: str, doc: Any = None, *more: str) -> bytes:
    body = b"" if doc is None else orjson.dumps(doc)
    lines = [f"{method} {path} HTTP/1.1", "Host: mock", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(lines).encode() + body


def model(name: str, *, stream: bool = True, close: bool = True) -> bytes:
    return ask("POST", "/v1/stub", {"model": name, "stream": stream}, *(["Connection: close"] if close else []))


async def fetch(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Head and raw body of one answer, read until the connection closes."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        with trio.fail_after(10):
            data = b"".join([bytes(part) async for part in stream])
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


async def stats(port: int, **expected: int) -> None:
    """Wait until the counters are as expected."""
    with trio.fail_after(10):
        while True:
            _, body = await fetch(port, ask("GET", "/stats", None, "Connection: close"))
            found = orjson.loads(body)
            if expected.items() <= found.items():
                return
            await trio.sleep(0.01)


async def test_lists_its_models(port: int) -> None:
    _, body = await fetch(port, ask("GET", "/v1/models", None, "Connection: close"))
    assert [entry["id"] for entry in orjson.loads(body)["data"]] == ["demo", "mock"]
    _, body = await fetch(port, ask("GET", "/v1/models/demo", None, "Connection: close"))
    assert orjson.loads(body)["id"] == "demo"


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/models/gpt-5"), ("GET", "/v1/stub"), ("POST", "/v1/chat/completions"), ("GET", "/")])
async def test_other_paths_are_unknown(port: int, method: str, path: str) -> None:
    head, body = await fetch(port, ask(method, path, None, "Connection: close"))
    assert head.startswith(b"HTTP/1.1 404 ")
    assert orjson.loads(body)["kind"] == "not_found"


async def test_streams_in_chunks_and_says_the_end(port: int) -> None:
    head, body = await fetch(port, model("mock-n3"))
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"text/event-stream" in head
    assert body.endswith(b"stop\n\r\n0\r\n\r\n")
    await stats(port, requests=1, served=1, active=0, cut=0, cancelled=0)


async def test_a_plain_answer_has_a_length(port: int) -> None:
    head, body = await fetch(port, model("mock-n3", stream=False))
    assert b"content-length: 14" in head
    assert body == b'["and so the"]'


async def test_errors_have_their_status(port: int) -> None:
    head, _ = await fetch(port, model("mock-e429"))
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 1" in head
    head, _ = await fetch(port, b"GET / HTTP/1.1\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_is_seen_as_one(port: int, stream: bool) -> None:
    """The connection closes although it was to be kept, and the last chunk never comes."""
    head, body = await fetch(port, model("mock-n9-x2", stream=stream, close=False))
    assert b"chunked" in head
    assert body
    assert not body.endswith(b"0\r\n\r\n")
    await stats(port, cut=1, active=0)


@pytest.mark.parametrize("stream", [True, False])
async def test_sees_its_caller_leave(port: int, stream: bool) -> None:
    caller = await trio.open_tcp_stream("127.0.0.1", port)
    await caller.send_all(model("mock-n9-s2", stream=stream))
    await stats(port, active=1)
    assert await caller.receive_some()
    await caller.aclose()
    await stats(port, active=0, cancelled=1, served=0)


async def test_a_connection_is_kept_between_requests(port: int) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for _ in range(3):
            await stream.send_all(model("mock-n1", close=False))
            data = b""
            with trio.fail_after(10):
                while not data.endswith(b"0\r\n\r\n"):
                    data += await stream.receive_some()
    await stats(port, requests=3, served=3)


async def test_an_address_that_is_taken_is_named(port: int) -> None:
    with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
        await serve_mock(f"127.0.0.1:{port}", [STUB])
