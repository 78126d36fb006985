"""What is seen of a stream that passes through untouched."""

from typing import Any

import orjson
import pytest

from tests.dialects.chat.frames import DONE, LIMIT, call, chunk, frame, text
from trioproxy.dialects.chat import CHAT
from trioproxy.dialects.chat.scanner import ChatScanner
from trioproxy.errors import RemoteProtocolError
from trioproxy.model.fault import Fault, FaultKind
from trioproxy.model.usage import Usage

ROLE, STOP = chunk({"role": "assistant", "content": ""}), chunk({}, "stop")
USAGE = frame({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})


def scan(*batches: bytes) -> ChatScanner:
    scanner = ChatScanner(LIMIT)
    for batch in batches:
        scanner.feed(batch)
    return scanner


SUBSTANCE: list[tuple[bytes, bool]] = [
    (ROLE, False),
    (frame({"choices": []}), False),
    (b": ping\n\n", False),
    (chunk(call(0, id="x", name="f", arguments="")), False),
    (chunk(call(0, id="x", name="f", arguments="{")), True),
    (text("a"), True),
    (chunk({"refusal": "No."}), True),
    (chunk({"reasoning_content": "a"}), True),
    (chunk({"reasoning": "a"}), True),
    (chunk({"content": "a"}, "stop"), True),
    (STOP, False),
    (STOP + DONE, True),
    (DONE, False),
]


@pytest.mark.parametrize(("stream", "spoken"), SUBSTANCE)
def test_spoken(stream: bytes, spoken: bool) -> None:
    assert scan(stream).spoken is spoken


def test_ended_with_usage() -> None:
    scanner = scan(ROLE, text("a"), text("b"), STOP, USAGE, DONE)
    assert (scanner.ended, scanner.usage, scanner.fault) == (True, Usage(1, 2), None)
    assert scanner.finish() == b""


def test_missing_done_is_owed() -> None:
    scanner = scan(ROLE, text("a"), STOP)
    assert (scanner.ended, scanner.finish()) == (False, DONE)
    assert (scanner.ended, scanner.finish()) == (True, b"")


@pytest.mark.parametrize("stream", [b"", ROLE, ROLE + text("a"), DONE])
def test_what_never_finished_did_not_end(stream: bytes) -> None:
    scanner = scan(stream)
    assert scanner.finish() == b""
    assert not scanner.ended


ERRORS: list[tuple[bytes, FaultKind]] = [
    (frame({"error": {"message": "slow", "code": "rate_limit_exceeded"}}), FaultKind.RATE_LIMITED),
    (frame({"error": "text"}), FaultKind.UPSTREAM),
    (b'event: error\ndata: {"message":"x","error":null}\n\n', FaultKind.UPSTREAM),
    (chunk({}, "error"), FaultKind.UPSTREAM),
]


@pytest.mark.parametrize(("error", "kind"), ERRORS)
@pytest.mark.parametrize("before", [b"", ROLE, ROLE + text("a")])
def test_error_in_the_stream(before: bytes, error: bytes, kind: FaultKind) -> None:
    scanner = scan(before, error)
    assert scanner.fault is not None
    assert scanner.fault.kind is kind
    assert scanner.finish() == b""
    assert scanner.ended == (scanner.spoken and b"finish_reason" not in error)  # an error frame that was passed on is an end


@pytest.mark.parametrize("spelling", [(b'":', b'":'), (b'":', b'": '), (b'":', b'" :')])
def test_every_spelling_of_json_is_seen_through(spelling: tuple[bytes, bytes]) -> None:
    scanner = scan(*(each.replace(*spelling) for each in (ROLE, text("a"), text("b"), STOP, USAGE, DONE)))
    assert (scanner.ended, scanner.usage) == (True, Usage(1, 2))


class Counting(ChatScanner):
    __slots__ = ("read",)

    def __init__(self) -> None:
        super().__init__(LIMIT)
        self.read = 0

    def _frame(self, name: bytes, payload: bytes) -> None:
        self.read += 1
        super()._frame(name, payload)


def test_only_marked_frames_are_read() -> None:
    scanner = Counting()
    for batch in (ROLE, text("a"), *[chunk({"content": "b"}, usage=None)] * 50, text('"usage":{ "error" [DONE]'.replace("[DONE]", "")), STOP, DONE):
        scanner.feed(batch)
    assert scanner.read == 4


def test_broken_frames_are_a_broken_peer() -> None:
    with pytest.raises(RemoteProtocolError):
        scan(b"data: {\n\n")
    with pytest.raises(RemoteProtocolError):
        scan(b"data: [3]\n\n")


def test_fail_is_an_error_frame() -> None:
    data = scan(ROLE).fail(Fault(FaultKind.TIMEOUT, "Too slow."))
    assert data.startswith(b"data: ")
    assert data.endswith(b"\n\n")
    found: dict[str, Any] = orjson.loads(data[6:])
    assert found == {"error": {"message": "Too slow.", "type": "server_error", "param": None, "code": "timeout"}}


def test_heartbeat_is_a_comment() -> None:
    assert CHAT.heartbeat == b": keep-alive\n\n"
    assert not scan(CHAT.heartbeat).spoken
