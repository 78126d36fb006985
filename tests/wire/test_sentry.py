from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from tests.wire.rig import reset, settled_tcp_pair
from trioproxy.wire.sentry import Sentry
from trioproxy.wire.transport import SocketTransport, StreamTransport


@pytest.fixture
async def sentry(nursery):
    sentry = Sentry()
    await nursery.start(sentry.run)
    return sentry


def half_close(sock):
    sock.shutdown(socket.SHUT_WR)


def behind_bytes(sock):
    sock.sendall(b"GET /pipelined HTTP/1.1\r\n")
    sock.shutdown(socket.SHUT_WR)


LEAVING = [half_close, behind_bytes, socket.socket.close, reset]


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize("use_epoll", [True, False])
async def test_leaving_cancels_the_scope(nursery, leave, use_epoll):
    if leave is behind_bytes and not use_epoll:
        leave = half_close  # without epoll an end behind unread bytes is not seen
    sentry = Sentry(use_epoll=use_epoll)
    await nursery.start(sentry.run)
    assert sentry.parks is use_epoll
    a, b = settled_tcp_pair()
    transport = SocketTransport(a)
    with trio.fail_after(2), trio.CancelScope() as scope, sentry.watching(transport, scope) as watch:
        await trio.testing.wait_all_tasks_blocked()
        leave(b)
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert watch.gone
    scope = trio.CancelScope()
    with sentry.watching(transport, scope) as watch:
        assert scope.cancel_called  # and remembered
    sentry.forget(transport)
    transport.close()
    b.close()


@pytest.mark.parametrize("leave", LEAVING)
async def test_one_who_left_before_the_watch_is_seen(sentry, leave):
    a, b = settled_tcp_pair()
    transport = SocketTransport(a)
    leave(b)
    with trio.fail_after(2), trio.CancelScope() as scope, sentry.watching(transport, scope):
        await trio.sleep_forever()
    transport.close()
    sentry.forget(transport)
    b.close()


async def test_bytes_do_not_disturb_a_watch_and_leaving_between_two_is_remembered(sentry):
    a, b = settled_tcp_pair()
    transport = SocketTransport(a)
    for _ in range(3):
        with trio.CancelScope() as scope, sentry.watching(transport, scope) as watch:
            b.sendall(b"x")
            await trio.sleep(0.02)
        assert not watch.gone
        assert not scope.cancel_called
    b.close()
    await trio.sleep(0.02)
    scope = trio.CancelScope()
    with sentry.watching(transport, scope):
        assert scope.cancel_called
    sentry.forget(transport)
    transport.close()


@pytest.mark.parametrize("use_epoll", [True, False])
async def test_half_close_may_be_no_leaving(nursery, use_epoll):
    sentry = Sentry(half_close="answer", use_epoll=use_epoll)
    await nursery.start(sentry.run)
    a, b = settled_tcp_pair()
    transport = SocketTransport(a)
    with trio.CancelScope() as scope, sentry.watching(transport, scope):
        b.shutdown(socket.SHUT_WR)
        await trio.sleep(0.12)
        assert not scope.cancel_called
        reset(b)
        if not use_epoll:
            return_sooner(scope)  # a reset behind a half-close shows itself only when we write
        with trio.fail_after(2):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    sentry.forget(transport)
    transport.close()


def return_sooner(scope):
    scope.cancel(reason="nothing to see")


@pytest.mark.parametrize("half", ["gone", "answer"])
async def test_streams_are_watched_by_their_own_task(nursery, half):
    sentry = Sentry(half_close=half)
    await nursery.start(sentry.run)
    ours, theirs = trio.testing.memory_stream_pair()
    transport = StreamTransport(theirs, nursery)
    with trio.CancelScope() as scope, sentry.watching(transport, scope) as watch:
        await ours.send_all(b"pipelined")
        await ours.send_eof()
        await trio.testing.wait_all_tasks_blocked()
    assert scope.cancel_called == watch.gone == (half == "gone")
    assert await transport.receive() == b"pipelined"
    sentry.forget(transport)
    transport.close()


async def test_a_closed_transport_cannot_be_watched(sentry):
    a, b = settled_tcp_pair()
    transport = SocketTransport(a)
    transport.close()
    with pytest.raises(trio.ClosedResourceError), sentry.watching(transport, trio.CancelScope()):
        pass
    sentry.forget(transport)
    b.close()


async def test_a_reused_descriptor_never_reaches_anothers_scope(sentry):
    a, b = settled_tcp_pair()
    old = SocketTransport(a)
    number = old.fileno()
    first = trio.CancelScope()
    with sentry.watching(old, first):
        pass
    with sentry.watching(old, first):
        old.close()  # without a word to the sentry, inside a watch
        c, d = settled_tcp_pair()
        assert number in (c.fileno(), d.fileno())
        new, peer = (c, d) if c.fileno() == number else (d, c)
        fresh = SocketTransport(new)
        with trio.fail_after(2), trio.CancelScope() as second, sentry.watching(fresh, second):
            peer.close()
            await trio.sleep_forever()
        assert not first.cancel_called
    sentry.forget(old)
    third = trio.CancelScope()
    with sentry.watching(fresh, third):
        assert third.cancel_called  # forgetting the old one did not strike off the new
    sentry.forget(fresh)
    fresh.close()
    b.close()
    assert not sentry._posts
    assert not sentry._numbers


def take(woken):
    return lambda transport, soon: woken.append(transport)


class TestParking:
    async def test_bytes_wake_once(self, sentry):
        a, b = settled_tcp_pair()
        transport = SocketTransport(a)
        woken = []
        sentry.park(transport, take(woken))
        assert sentry.parked == 1
        await trio.testing.wait_all_tasks_blocked()
        assert not woken
        b.sendall(b"x")
        await trio.sleep(0.02)
        assert woken == [transport]
        assert sentry.parked == 0
        b.sendall(b"y")
        await trio.sleep(0.02)
        assert woken == [transport]
        sentry.park(transport, take(woken))  # the bytes are still there: at once again
        await trio.sleep(0.02)
        assert len(woken) == 2
        sentry.forget(transport)
        transport.close()
        b.close()

    @pytest.mark.parametrize(("fresh", "wait", "expected"), [(True, 0, False), (False, 0, True), (False, 1.5, True), (False, 2.5, False)])
    async def test_who_asks_again_soon_is_known(self, nursery, autojump_clock, fresh, wait, expected):
        sentry = Sentry()
        await nursery.start(sentry.run)
        a, b = settled_tcp_pair()
        transport = SocketTransport(a)
        told = []
        sentry.park(transport, lambda transport, soon: told.append(soon), fresh=fresh)
        await trio.sleep(wait)
        b.sendall(b"x")
        await trio.sleep(0.01)
        assert told == [expected]
        sentry.forget(transport)
        transport.close()
        b.close()

    async def test_a_watch_after_parking_sees_the_leaving(self, sentry):
        a, b = settled_tcp_pair()
        transport = SocketTransport(a)
        for _ in range(2):
            sentry.park(transport, lambda *_: None)
            b.sendall(b"x")
            await trio.sleep(0.02)
            assert transport.try_receive() == b"x"
        with trio.fail_after(2), trio.CancelScope() as scope, sentry.watching(transport, scope):
            b.close()
            await trio.sleep_forever()
        sentry.forget(transport)
        transport.close()

    @pytest.mark.parametrize("leave", [half_close, socket.socket.close, reset])
    async def test_who_leaves_is_closed_without_a_wake(self, sentry, leave):
        a, b = settled_tcp_pair()
        transport = SocketTransport(a)
        woken = []
        sentry.park(transport, take(woken))
        leave(b)
        await trio.sleep(0.02)
        assert not woken
        assert transport.fileno() is None
        assert sentry.parked == 0
        b.close()

    async def test_bytes_before_the_end_wake(self, sentry):
        a, b = settled_tcp_pair()
        transport = SocketTransport(a)
        woken = []
        behind_bytes(b)
        sentry.park(transport, take(woken))
        await trio.sleep(0.02)
        assert woken == [transport]
        sentry.forget(transport)
        transport.close()
        b.close()

    async def test_the_idle_are_closed(self, nursery, autojump_clock):
        sentry = Sentry(idle_s=20)
        await nursery.start(sentry.run)
        pairs = [settled_tcp_pair() for _ in range(3)]
        transports = [SocketTransport(a) for a, _ in pairs]
        for transport in transports:
            sentry.park(transport, lambda *_: None)
            await trio.sleep(5)
        await trio.sleep(4)
        assert sentry.parked == 3
        await trio.sleep(2.1)
        assert [transport.fileno() is None for transport in transports] == [True, False, False]
        await trio.sleep(5)
        assert sentry.parked == 1
        await trio.sleep(5)
        assert sentry.parked == 0
        for _, b in pairs:
            b.close()

    async def test_no_tick_without_somebody_to_serve(self, nursery, autojump_clock):
        sentry = Sentry(idle_s=3)
        await nursery.start(sentry.run)
        await trio.sleep(100)
        assert sentry.tick == 0
        a, b = settled_tcp_pair()
        sentry.park(SocketTransport(a), lambda *_: None)
        await trio.sleep(100)
        assert sentry.tick == 3
        b.close()

    async def test_what_is_parked_is_closed_with_the_sentry(self):
        a, b = settled_tcp_pair()
        async with trio.open_nursery() as nursery:
            sentry = Sentry()
            await nursery.start(sentry.run)
            sentry.park(SocketTransport(a), lambda *_: None)
            nursery.cancel_scope.cancel()
        assert b.recv(1) == b""
        b.close()

    async def test_dismissal_spares_who_has_just_come_and_who_has_asked(self, nursery, autojump_clock):
        sentry = Sentry()
        await nursery.start(sentry.run)
        pairs = [settled_tcp_pair() for _ in range(4)]
        idle, fresh, asking, late = (SocketTransport(a) for a, _ in pairs)
        woken = []
        sentry.park(idle, take(woken))
        sentry.park(fresh, take(woken), fresh=True)
        sentry.park(asking, take(woken))
        pairs[2][1].sendall(b"GET")
        scope = trio.CancelScope()
        sentry.resting[scope] = 1000
        sentry.dismiss()
        del sentry.resting[scope]
        assert scope.cancel_called
        assert idle.fileno() is None
        assert fresh.fileno() is not None
        sentry.park(late, take(woken))
        assert late.fileno() is None
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert woken == [asking]
        await trio.sleep(3)
        assert fresh.fileno() is None
        sentry.forget(asking)
        asking.close()
        for _, b in pairs:
            b.close()

    async def test_after_its_end_nothing_is_kept_and_nothing_fails(self):
        a, b = settled_tcp_pair()
        c, d = settled_tcp_pair()
        watched, late = SocketTransport(a), SocketTransport(c)
        async with trio.open_nursery() as nursery:
            sentry = Sentry()
            await nursery.start(sentry.run)
            with sentry.watching(watched, trio.CancelScope()):
                pass
            nursery.cancel_scope.cancel()
        assert not sentry.parks
        with sentry.watching(late, trio.CancelScope()) as watch:
            assert not watch.gone
        sentry.forget(watched)
        sentry.forget(late)
        sentry.park(late, lambda *_: None)
        assert late.fileno() is None
        watched.close()
        b.close()
        d.close()
