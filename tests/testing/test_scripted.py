"""A scripted backend plays what is written, and keeps what it was asked."""

from typing import Any, cast

import pytest
import trio

from trioproxy.dialects.base import Dialect
from trioproxy.errors import BrokenError, ConnectError
from trioproxy.testing.scripted import Close, Raise, Script, ScriptedBackend, ScriptedReply, Sleep

NO_DIALECT = cast(Dialect, None)
LEASE: Any = object()


def backend(*scripts: Script, repeat: bool = False) -> ScriptedBackend:
    return ScriptedBackend("b", NO_DIALECT, scripts, repeat=repeat)


async def drain(reply: ScriptedReply) -> bytes:
    out = b""
    while data := await reply.receive():
        out += data
    return out


async def test_plays_its_steps_in_order_and_in_time(autojump_clock: trio.testing.MockClock) -> None:
    played = backend(Script((b"a", Sleep(3), b"b"), before=(Sleep(2),)))
    reply = await played.open(LEASE, b"{}", stream=True)
    assert trio.current_time() == 2
    assert (reply.status, reply.headers) == (200, {b"content-type": b"text/event-stream"})
    assert await drain(reply) == b"ab"
    assert trio.current_time() == 5
    assert reply.complete
    reply.close()
    call = played.calls[0]
    assert (call.body, call.stream, call.fresh, call.lease) == (b"{}", True, False, LEASE)
    assert (call.complete, call.closes, call.leaked, call.dropped, call.taken) == (True, 1, False, False, 4)


async def test_a_close_leaves_the_reply_incomplete() -> None:
    reply = await backend(Script.of(b"a", Close(), b"never")).open(LEASE, b"{}", stream=True)
    assert await reply.receive() == b"a"
    assert await reply.receive() == b""
    assert await reply.receive() == b""
    assert not reply.complete


async def test_errors_come_where_they_are_written() -> None:
    played = backend(Script.refused(ConnectError("refused")), Script.of(b"a", Raise(BrokenError("reset"))))
    with pytest.raises(ConnectError, match="refused"):
        await played.open(LEASE, b"{}", stream=True)
    assert not played.calls[0].leaked
    reply = await played.open(LEASE, b"{}", stream=False, fresh=True)
    assert await reply.receive() == b"a"
    with pytest.raises(BrokenError, match="reset"):
        await reply.receive()
    assert played.calls[1].fresh
    assert played.leaks == [played.calls[1]]


async def test_a_plain_answer_has_a_status_and_json_headers() -> None:
    reply = await backend(Script.plain(b'{"error":1}', 429, {b"retry-after": b"3"})).open(LEASE, b"{}", stream=False)
    assert (reply.status, reply.headers) == (429, {b"content-type": b"application/json", b"retry-after": b"3"})
    assert await drain(reply) == b'{"error":1}'


async def test_sees_a_cancellation_before_the_head(autojump_clock: trio.testing.MockClock) -> None:
    played = backend(Script(before=(Sleep(),)))
    with trio.move_on_after(1):
        await played.open(LEASE, b"{}", stream=True)
    assert (played.calls[0].cancelled, played.calls[0].dropped, played.calls[0].leaked) == (True, True, False)


async def test_sees_a_cancellation_in_the_body(autojump_clock: trio.testing.MockClock) -> None:
    played = backend(Script.of(b"a", Sleep()))
    reply = await played.open(LEASE, b"{}", stream=True)
    with trio.move_on_after(1):
        await drain(reply)
    reply.close()
    assert (played.calls[0].cancelled, played.calls[0].closes, played.calls[0].leaked) == (True, 1, False)


async def test_letting_go_early_is_seen_without_a_cancellation() -> None:
    played = backend(Script.of(b"a", b"b"))
    reply = await played.open(LEASE, b"{}", stream=True)
    await reply.receive()
    reply.close()
    assert (played.calls[0].cancelled, played.calls[0].dropped) == (False, True)
    with pytest.raises(trio.ClosedResourceError):
        await reply.receive()


async def test_a_call_too_many_is_an_error() -> None:
    played = backend()
    with pytest.raises(AssertionError, match="call 1, but only 0 answers"):
        await played.open(LEASE, b"{}", stream=True)
    played.add(Script.of(b"a"))
    await played.open(LEASE, b"{}", stream=True)


async def test_the_last_answer_may_repeat() -> None:
    played = backend(Script.of(b"a"), repeat=True)
    for _ in range(3):
        assert await drain(await played.open(LEASE, b"{}", stream=True)) == b"a"
    assert len(played.calls) == 3
