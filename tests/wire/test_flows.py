"""The task that reads flowing answers: whatever happens in one flow happens to it alone."""

import socket

import pytest
import trio
import trio.testing

from trioproxy.errors import BrokenError, RemoteProtocolError
from trioproxy.wire.client import Origin, Upstream
from trioproxy.wire.flows import Flows

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
async def flows(nursery):
    flows = Flows()
    await nursery.start(flows.run)
    if not flows.able:
        pytest.skip("no epoll here: every answer takes the other road")
    return flows


@pytest.fixture
async def backend(flows, nursery):
    """A way to get a reply whose body is these pieces; an event among them is waited for, None closes."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    upstream = Upstream(Origin("http", "127.0.0.1", listener.socket.getsockname()[1]), flows=flows)

    async def answer(*pieces):
        async def serve():
            async with await listener.accept() as stream:
                await stream.receive_some()
                await stream.send_all(HEAD)
                for piece in pieces:
                    if piece is None:
                        return
                    if isinstance(piece, bytes):
                        await stream.send_all(piece)
                    else:
                        await piece.wait()
                await trio.sleep_forever()

        nursery.start_soon(serve)
        return await upstream.request("POST", "/", [], b"{}")

    async with listener:
        yield answer, upstream
        upstream.close_idle()
        nursery.cancel_scope.cancel()


async def test_a_body_comes_whole_and_the_connection_serves_again(backend, flows):
    answer, upstream = backend
    bell = trio.Event()
    reply = await answer(b"3\r\nabc\r\n", bell, b"2\r\nde\r\n0\r\n\r\n")
    taken = []

    def take(data):
        taken.append(data)
        bell.set()
        return True

    assert await reply.flow(take)
    assert b"".join(taken) == b"abcde"
    assert reply.complete
    reply.close()
    assert upstream.idle == 1
    assert len(flows) == 0


async def test_whoever_wants_no_more_for_now_goes_on_later(backend, flows):
    answer, _ = backend
    bells = [trio.Event(), trio.Event()]
    reply = await answer(b"3\r\nabc\r\n", bells[0], b"2\r\nde\r\n", bells[1], b"0\r\n\r\n")
    taken = []

    def take(data):
        taken.append(data)
        return False

    for bell in bells:
        assert not await reply.flow(take)
        assert len(flows) == 0
        bell.set()
    assert await reply.flow(take)
    assert taken == [b"abc", b"de"]
    reply.close()


@pytest.mark.parametrize("bad", [b"zz\r\n", b"3\r\nabcX"])
async def test_broken_framing_is_raised_in_its_exchange_and_nowhere_else(backend, flows, bad):
    answer, upstream = backend
    bell = trio.Event()
    other = await answer(bell, b"1\r\nx\r\n0\r\n\r\n")
    reply = await answer(b"1\r\na\r\n", bell, bad)
    with pytest.raises(RemoteProtocolError):
        await reply.flow(lambda data: bell.set() or True)
    assert upstream.idle == 0
    assert await other.flow(lambda data: True)
    assert other.complete
    other.close()


async def test_what_take_raises_is_raised_in_its_exchange(backend, flows):
    answer, upstream = backend
    reply = await answer(b"1\r\na\r\n")

    def take(data):
        raise trio.BrokenResourceError("the client left")

    with pytest.raises(trio.BrokenResourceError, match="the client left"):
        await reply.flow(take)
    reply.close()
    assert (upstream.idle, len(flows)) == (0, 0)


async def test_a_close_without_an_end_is_no_end(backend, flows):
    answer, _ = backend
    reply = await answer(b"1\r\na\r\n", None)
    assert await reply.flow(lambda data: True)
    assert not reply.complete
    reply.close()


async def test_a_reset_is_told(flows, nursery):
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    upstream = Upstream(Origin("http", "127.0.0.1", listener.socket.getsockname()[1]), flows=flows)
    bell = trio.Event()

    async def serve():
        async with await listener.accept() as stream:
            await stream.receive_some()
            await stream.send_all(HEAD + b"1\r\na\r\n")
            await bell.wait()
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end

    async with listener:
        nursery.start_soon(serve)
        reply = await upstream.request("POST", "/", [], b"{}")
        with pytest.raises(BrokenError):
            await reply.flow(lambda data: bell.set() or True)


async def test_cancelling_takes_the_socket_out_and_closes_it(backend, flows):
    answer, upstream = backend
    reply = await answer(b"1\r\na\r\n")
    with trio.move_on_after(0.05) as scope:
        await reply.flow(lambda data: True)
    assert scope.cancelled_caught
    assert len(flows) == 0
    assert upstream.idle == 0


async def test_the_end_of_the_house_ends_every_flow(backend, nursery):
    flows = Flows()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as house:
            await house.start(flows.run)
            ours, theirs = socket.socketpair()
            raised = []

            @nursery.start_soon
            async def read():
                try:
                    await flows.read(ours.fileno(), lambda: True)
                except trio.ClosedResourceError as exc:
                    raised.append(exc)

            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert len(raised) == 1
    assert not flows.able
    ours.close()
    theirs.close()
