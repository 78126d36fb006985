from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from tests.wire.rig import reset, settled_tcp_pair
from trioproxy.wire.transport import AHEAD, SocketTransport, StreamTransport


async def test_socket_sends_what_fits_and_waits_for_the_rest():
    a, b = settled_tcp_pair()
    left, right = SocketTransport(a), SocketTransport(b)
    data = bytes(range(256)) * 40_000
    first = left.try_send(data)
    assert 0 < first < len(data)
    got = []

    async def drain():
        while part := await right.receive():
            assert len(part) <= 65536
            got.append(part)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        await left.send_all(memoryview(data)[first:])
        left.close()
    assert b"".join(got) == data
    right.close()


async def test_a_full_kernel_takes_nothing_and_says_so():
    a, b = settled_tcp_pair()
    left, right = SocketTransport(a), SocketTransport(b)
    while left.try_send(b"x" * 65536):
        pass
    assert left.try_send(b"more") == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.writable)
        await trio.testing.wait_all_tasks_blocked()
        while right.try_receive():
            pass
    left.close()
    right.close()


async def test_peek_and_try_receive_tell_nothing_from_the_end():
    a, b = settled_tcp_pair()
    left = SocketTransport(a)
    assert left.peek() is None
    assert left.try_receive() is None
    b.send(b"hello")
    await trio.lowlevel.wait_readable(a)
    assert left.peek() == b"h"
    assert left.try_receive() == b"hello"
    b.close()
    await trio.lowlevel.wait_readable(a)
    assert left.peek() == b""
    assert left.try_receive() == b""
    left.close()


async def test_reset_is_broken_and_own_close_is_closed():
    a, b = settled_tcp_pair()
    left = SocketTransport(a)
    reset(b)
    with pytest.raises(trio.BrokenResourceError):
        await left.receive()
    left.close()
    left.close()
    assert left.fileno() is None
    for act in (lambda: left.try_send(b"x"), left.try_receive, left.peek):
        with pytest.raises(trio.ClosedResourceError):
            act()
    for wait in (left.receive, left.writable):
        with pytest.raises(trio.ClosedResourceError):
            await wait()
    await left.farewell()


async def test_close_wakes_whoever_waits():
    a, b = settled_tcp_pair()
    left = SocketTransport(a)

    async def wait():
        with pytest.raises(trio.ClosedResourceError):
            await left.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        left.close()
    b.close()


async def test_peer_is_an_address_or_nothing():
    a, b = settled_tcp_pair()
    left = SocketTransport(a)
    assert left.peer == f"127.0.0.1:{b.getsockname()[1]}"
    b.close()
    left.close()
    a, b = socket.socketpair()
    left = SocketTransport(a)
    assert left.peer == ""
    b.close()
    left.close()


async def test_farewell_lets_everything_arrive_before_the_end():
    a, b = settled_tcp_pair()
    left = SocketTransport(a)
    b.sendall(b"unread" * 1000)
    left.try_send(b"last words")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.farewell)
        other = SocketTransport(b)
        assert await other.receive() == b"last words"
        assert await other.receive() == b""
        other.close()
    left.close()


class TestStream:
    async def test_it_carries_bytes_both_ways_and_the_end(self, nursery):
        ours, theirs = trio.testing.memory_stream_pair()
        transport = StreamTransport(theirs, nursery)
        assert transport.fileno() is None
        assert transport.peer == ""
        assert transport.try_send(b"hello") == 5
        assert await ours.receive_some() == b"hello"
        await ours.send_all(b"world")
        assert await transport.receive() == b"world"
        assert transport.try_receive() is None
        await ours.send_eof()
        assert await transport.receive() == b""
        assert transport.peek() == b""
        transport.close()
        with pytest.raises(trio.ClosedResourceError):
            await transport.receive()
        with pytest.raises(trio.ClosedResourceError):
            transport.try_send(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await transport.writable()

    async def test_it_takes_no_more_than_its_bound(self, nursery):
        ours, theirs = trio.testing.lockstep_stream_pair()  # sends nothing before it is read
        transport = StreamTransport(theirs, nursery)
        assert transport.try_send(b"a" * (2 * AHEAD)) == AHEAD
        await trio.testing.wait_all_tasks_blocked()
        assert transport.try_send(b"b" * (2 * AHEAD)) == AHEAD
        assert transport.try_send(b"c") == 0
        sent = []

        async def more():
            await transport.send_all(b"d" * 10)
            sent.append(True)

        async with trio.open_nursery() as inner:
            inner.start_soon(more)
            await trio.testing.wait_all_tasks_blocked()
            assert not sent
            got = b""
            while len(got) < 2 * AHEAD + 10:
                got += await ours.receive_some()
        assert got == b"a" * AHEAD + b"b" * AHEAD + b"d" * 10
        transport.close()

    async def test_it_reads_ahead_but_not_without_end(self, nursery):
        ours, theirs = trio.testing.memory_stream_pair()
        transport = StreamTransport(theirs, nursery)
        for _ in range(5):
            await ours.send_all(b"x" * AHEAD)
            await trio.testing.wait_all_tasks_blocked()
        assert transport._ahead <= 2 * AHEAD
        await ours.send_eof()
        got = b""
        while data := await transport.receive():
            got += data
        assert len(got) == 5 * AHEAD
        transport.close()

    async def test_watch_tells_of_the_end_and_of_a_break(self, nursery):
        for leave, broken in (("send_eof", False), ("aclose", False)):
            ours, theirs = trio.testing.memory_stream_pair()
            transport = StreamTransport(theirs, nursery)
            heard: list[bool] = []
            transport.watch(heard.append)
            await ours.send_all(b"unread")
            await getattr(ours, leave)()
            await trio.testing.wait_all_tasks_blocked()
            assert heard == [broken]
            late: list[bool] = []
            transport.watch(late.append)
            assert late == [broken]
            assert await transport.receive() == b"unread"
            transport.close()

    async def test_a_write_into_nothing_breaks_it(self, nursery):
        ours, theirs = trio.testing.memory_stream_pair()
        transport = StreamTransport(theirs, nursery)
        heard: list[bool] = []
        await ours.aclose()
        transport.watch(heard.append)
        transport.try_send(b"x")
        await trio.testing.wait_all_tasks_blocked()
        assert heard[-1] is True
        with pytest.raises(trio.BrokenResourceError):
            transport.try_send(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await transport.writable()
        with pytest.raises(trio.BrokenResourceError):
            await transport.receive()
        await transport.farewell()
        transport.close()

    async def test_farewell_flushes_and_waits_for_the_other_end(self, nursery):
        ours, theirs = trio.testing.memory_stream_pair()
        transport = StreamTransport(theirs, nursery)
        transport.try_send(b"last words")
        async with trio.open_nursery() as inner:
            inner.start_soon(transport.farewell)
            assert await ours.receive_some() == b"last words"
            assert await ours.receive_some() == b""
            await ours.send_all(b"ignored")
            await ours.aclose()
        transport.close()

    async def test_its_tasks_end_with_close(self):
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            transport = StreamTransport(theirs, nursery)
            await trio.testing.wait_all_tasks_blocked()
            transport.close()
        with pytest.raises(trio.BrokenResourceError):
            await ours.send_all(b"x")

    async def test_close_still_sends_what_was_taken_but_not_for_ever(self, autojump_clock):
        for reads in (True, False):
            ours, theirs = trio.testing.lockstep_stream_pair()
            async with trio.open_nursery() as nursery:
                transport = StreamTransport(theirs, nursery)
                transport.try_send(b"a" * 1000)
                await trio.testing.wait_all_tasks_blocked()
                transport.try_send(b"b" * 1000)
                transport.close()
                transport.close()
                got = b""
                while reads and (data := await ours.receive_some()):
                    got += data
                begun = trio.current_time()
            assert len(got) == (2000 if reads else 0)
            assert trio.current_time() - begun == (0 if reads else 1)
