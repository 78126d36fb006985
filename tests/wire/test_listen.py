from __future__ import annotations

import errno
import socket

import pytest
import trio
import trio.testing

from trioproxy.wire import listen
from trioproxy.wire.listen import accept_loop, open_listeners, split_address


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("localhost:65535", ("localhost", 65535)), ("0.0.0.0:1", ("0.0.0.0", 1))],
)
def test_addresses(address, expected):
    assert split_address(address) == expected


@pytest.mark.parametrize("address", ["", "80", ":80", "a", "a:", "a:b", "a:-1", "a:65536", "a:1e3", "::1:80", "[::1]", "[::1]80", "a:٣", "a:000080"])
def test_bad_addresses_are_named(address):
    with pytest.raises(ValueError, match="not an address") as caught:
        open_listeners([address])
    assert repr(address) in str(caught.value)


def test_it_binds_all_or_none():
    (first,) = open_listeners(["127.0.0.1:0"])
    taken = f"127.0.0.1:{first.getsockname()[1]}"
    with pytest.raises(OSError, match="cannot listen on 127.0.0.1:[0-9]+: Address already in use") as caught:
        open_listeners(["127.0.0.1:0", taken])
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError, match="cannot listen on 192.0.2.1:0"):
        open_listeners(["192.0.2.1:0"])
    first.close()


def test_a_name_is_bound_where_this_machine_has_it():
    for listener in open_listeners(["localhost:0"]):
        assert listener.getsockname()[0] in ("127.0.0.1", "::1")
        assert not listener.getblocking()
        listener.close()


def test_a_name_without_address(monkeypatch):
    def unknown(*args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match="cannot listen on nowhere.invalid:80: .*not known"):
        open_listeners(["nowhere.invalid:80"])


def test_several_may_share_a_port():
    (first,) = open_listeners(["127.0.0.1:0"], reuse_port=True)
    (second,) = open_listeners([f"127.0.0.1:{first.getsockname()[1]}"], reuse_port=True)
    first.close()
    second.close()


class Hand:
    """Takes accepted sockets."""

    def __init__(self, room: int = 1000) -> None:
        self.taken: list[socket.socket] = []
        self.most = room

    def start(self, sock: socket.socket) -> None:
        self.taken.append(sock)

    def room(self) -> int:
        return self.most - len(self.taken)

    def close(self) -> None:
        for sock in self.taken:
            sock.close()


def crowd(listener: socket.socket, size: int) -> list[socket.socket]:
    return [socket.create_connection(listener.getsockname()) for _ in range(size)]


async def test_several_are_accepted_at_a_wake_up_to_the_room(autojump_clock):
    (listener,) = open_listeners(["127.0.0.1:0"])
    hand = Hand(room=5)
    clients = crowd(listener, 8)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_loop, listener, hand.start, hand.room)
        await trio.sleep(10)
        assert len(hand.taken) == 5
        hand.most = 100
        await trio.sleep(0.2)
        assert len(hand.taken) == 8
        trio.lowlevel.notify_closing(listener)
        listener.close()
    hand.close()
    for client in clients:
        client.close()


class Failing:
    """A listener whose next accepts fail."""

    def __init__(self, listener: socket.socket, *failures: int) -> None:
        self.listener, self.failures, self.asked = listener, list(failures), 0

    def fileno(self) -> int:
        return self.listener.fileno()

    def accept(self):
        self.asked += 1
        if self.failures:
            raise OSError(self.failures.pop(0), "as told")
        return self.listener.accept()


@pytest.mark.parametrize("shortage", sorted(listen.SHORTAGE))
async def test_a_shortage_pauses_and_does_not_spin(autojump_clock, shortage, caplog):
    (listener,) = open_listeners(["127.0.0.1:0"])
    clients = crowd(listener, 2)
    failing, hand = Failing(listener, *[shortage] * 20), Hand()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_loop, failing, hand.start, hand.room)
        await trio.sleep(0.95)
        assert 9 <= failing.asked <= 11
        assert not hand.taken
        await trio.sleep(1.2)
        assert len(hand.taken) == 2
        nursery.cancel_scope.cancel()
    assert caplog.text.count("accepting pauses") == 1
    hand.close()
    listener.close()
    for client in clients:
        client.close()


async def test_one_bad_peer_is_passed_over_and_a_bad_listener_is_not():
    (listener,) = open_listeners(["127.0.0.1:0"])
    (client,) = crowd(listener, 1)
    failing, hand = Failing(listener, errno.ECONNABORTED, errno.EPROTO), Hand()
    assert listen.accept_waiting(failing, hand.start, 10)
    assert len(hand.taken) == 1
    with pytest.raises(OSError, match="as told"):
        listen.accept_waiting(Failing(listener, errno.EINVAL), hand.start, 10)
    hand.close()
    client.close()
    listener.close()


async def test_a_closed_listener_ends_the_loop():
    (listener,) = open_listeners(["127.0.0.1:0"])
    hand = Hand()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_loop, listener, hand.start, hand.room)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.notify_closing(listener)
        listener.close()
    await accept_loop(listener, hand.start, hand.room)
