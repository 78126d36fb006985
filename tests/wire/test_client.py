"""Our client against scripted backends on real sockets, and against the standard library's server."""

from __future__ import annotations

import http.server
import socket

import pytest
import trio
import trio.testing

from tests.wire.rig import answering, backend, read_request, reset, until
from trioproxy.errors import BrokenError, ConnectError, LocalProtocolError, RemoteProtocolError, StaleError
from trioproxy.testing.sweep import sweep
from trioproxy.wire.client import Origin, Reply, Upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def whole(reply: Reply) -> bytes:
    got = b""
    while data := await reply.receive():
        got += data
    assert await reply.receive() == b""
    return got


async def get(upstream: Upstream, **options: bool) -> tuple[int, bytes, bool]:
    reply = await upstream.request("GET", "/", [], b"", **options)
    try:
        return reply.status, await whole(reply), reply.complete
    finally:
        reply.close()
        reply.close()


async def one(answer: bytes, then: str = "wait") -> tuple[int, bytes, bool, int]:
    """One request answered so → status, body, complete, connections kept."""
    async with backend(answering(answer, then=then)) as (origin, _):
        upstream = Upstream(origin)
        try:
            return *await get(upstream), upstream.idle
        finally:
            upstream.close_idle()


# --- the request ------------------------------------------------------------------------------------------------------------------


async def test_what_is_sent():
    seen = []

    async def script(stream):
        while True:
            seen.append(await read_request(stream))
            await stream.send_all(OK)

    async with backend(script) as (origin, _):
        upstream = Upstream(origin)
        body = bytes(range(256)) * 1024
        for method, target, headers, data in (
            ("GET", "/v1/models?a=b", [], b""),
            ("POST", "/v1/x", [(b"authorization", b"Bearer k"), (b"accept", b"*/*")], b"{}"),
            ("POST", "/v1/x", [], b""),
            ("POST", "/v1/x", [], body),
        ):
            (await upstream.request(method, target, headers, data)).close()
        assert upstream.dials == 4  # an answer of which nothing was read is not reused
    host = f"host: 127.0.0.1:{origin.port}\r\n".encode()
    assert seen == [
        b"GET /v1/models?a=b HTTP/1.1\r\n" + host + b"\r\n",
        b"POST /v1/x HTTP/1.1\r\n" + host + b"authorization: Bearer k\r\naccept: */*\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /v1/x HTTP/1.1\r\n" + host + b"content-length: 0\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\n" + host + b"content-length: 262144\r\n\r\n" + body,
    ]


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/a b", []),
        ("GET", "/a\r\nx: y", []),
        ("GET", "a", []),
        ("GET", "/a#b", []),
        ("GET", "/ä", []),
        ("ge t", "/", []),
        ("", "/", []),
        ("GET", "/", [(b"a", b"b\r\nc: d")]),
        ("GET", "/", [(b"a", b"b\n")]),
        ("GET", "/", [(b"a\r", b"b")]),
        ("GET", "/", [(b"a", b"b\0")]),
    ],
)
async def test_nothing_can_bend_a_request(method, target, headers):
    async with backend(answering(OK)) as (origin, seen):
        with pytest.raises(LocalProtocolError):
            await Upstream(origin).request(method, target, headers, b"")
        assert not seen


# --- the answer -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OK, (200, b"ok", True, 1)),
        (OK.replace(b"200 OK", b"429 Slow"), (429, b"ok", True, 1)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", True, 1)),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", (304, b"", True, 1)),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", (302, b"", True, 1)),
        (CHUNKED + b"2\r\nok\r\n3;x=y\r\n!!!\r\n0\r\n\r\n", (200, b"ok!!!", True, 1)),
        (CHUNKED + b"0\r\nTrailer: x\r\n\r\n", (200, b"", True, 1)),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", (200, b"ok", True, 0)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", (200, b"ok", True, 0)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, (200, b"ok", True, 1)),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + OK, (200, b"ok", True, 1)),
        (OK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: identity\r\n\r\n"), (200, b"ok", True, 1)),
        (OK + b"x", (200, b"ok", True, 0)),  # a byte nobody asked for: never reused
        (OK + OK, (200, b"ok", True, 0)),
        (CHUNKED + b"2\r\nok\r\n0\r\n\r\nx", (200, b"ok", True, 0)),
        (b"HTTP/1.1 204 No Content\r\n\r\nx", (204, b"", True, 0)),
    ],
)
async def test_framing(answer, expected):
    assert await one(answer) == expected
    # and byte by byte
    async with backend(dripping(answer)) as (origin, _):
        upstream = Upstream(origin)
        assert await get(upstream) == expected[:3]
        upstream.close_idle()


def dripping(answer: bytes, size: int = 1):
    async def script(stream):
        await read_request(stream)
        for at in range(0, len(answer), size):
            await stream.send_all(answer[at : at + size])
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep_forever()

    return script


@pytest.mark.parametrize(
    ("answer", "body", "complete"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", b"short", False),
        (CHUNKED + b"5\r\nshort\r\n", b"short", False),
        (CHUNKED + b"5\r\nsho", b"sho", False),
        (CHUNKED + b"2\r\nok\r\n0\r\n", b"ok", False),
    ],
)
async def test_a_close_before_the_declared_end_is_told_by_complete(answer, body, complete):
    assert await one(answer, "close") == (200, body, complete, 0)


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage without end" * 4000,
        b"garbage\r\n\r\n",
        b"<html>no head</html>",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 51 + OK,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
        CHUNKED + b"xyz\r\nok\r\n0\r\n\r\n",
        CHUNKED + b"2\r\nok!!\r\n0\r\n\r\n",
    ],
)
async def test_a_bad_answer_is_the_backends_fault(answer):
    async with backend(answering(answer)) as (origin, _):
        upstream = Upstream(origin)
        with trio.fail_after(5), pytest.raises(RemoteProtocolError) as caught:
            await get(upstream)
        assert not isinstance(caught.value, ConnectError | StaleError | BrokenError)
        assert upstream.idle == 0


@pytest.mark.parametrize(
    ("answer", "then"),
    [(b"", "close"), (b"", "reset"), (b"HTTP/1.1 2", "close"), (b"HTTP/1.1 100 Continue\r\n\r\nHT", "close"), (CHUNKED + b"5\r\nok", "reset")],
)
async def test_a_break_is_broken(answer, then):
    async def script(stream):
        await read_request(stream)
        await stream.send_all(answer)
        await trio.sleep(0.02)
        if then == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with backend(script) as (origin, _):
        upstream = Upstream(origin)
        with pytest.raises(BrokenError):
            await get(upstream)


@pytest.mark.parametrize("reads_on", [True, False])
async def test_a_refusal_before_the_whole_request_was_taken_is_read(reads_on):
    async def script(stream):
        await stream.receive_some(1000)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await stream.send_eof()
        while reads_on and await stream.receive_some(65536):
            pass  # else: closed over unread bytes, which is a reset

    async with backend(script) as (origin, _):
        upstream = Upstream(origin)
        reply = await upstream.request("POST", "/", [], b"x" * 20_000_000)
        assert (reply.status, await whole(reply)) == (413, b"no")
        reply.close()
        assert upstream.idle == reads_on  # what was not sent whole is never used again
        upstream.close_idle()


# --- keeping connections ------------------------------------------------------------------------------------------------------------


async def test_the_last_used_is_used_first_and_fresh_dials():
    async with backend(answering(*[OK] * 9)) as (origin, seen):
        upstream = Upstream(origin)
        replies = [await upstream.request("GET", "/", [], b"") for _ in range(3)]
        for reply in replies:
            await whole(reply)
            reply.close()
        assert upstream.idle == 3
        again = await upstream.request("GET", "/", [], b"")
        assert again.reused
        assert again._transport is replies[2]._transport
        await whole(again)
        again.close()
        fresh = await upstream.request("GET", "/", [], b"", fresh=True)
        assert not fresh.reused
        fresh.close()  # unread: closed
        assert (upstream.idle, len(seen), upstream.dials) == (3, 4, 4)
        upstream.close_idle()
        assert upstream.idle == 0


async def test_no_more_are_kept_than_allowed():
    for most in (0, 2):
        async with backend(answering(*[OK] * 9)) as (origin, _):
            upstream = Upstream(origin, idle=most)
            replies = [await upstream.request("GET", "/", [], b"") for _ in range(4)]
            for reply in replies:
                await whole(reply)
                reply.close()
            assert upstream.idle == most
            upstream.close_idle()


async def test_idle_ones_expire(autojump_clock):
    async with backend(answering(*[OK] * 9)) as (origin, seen):
        upstream = Upstream(origin, idle_s=60)
        first = await upstream.request("GET", "/", [], b"")
        second = await upstream.request("GET", "/", [], b"")
        for reply in (first, second):
            await whole(reply)
            reply.close()
            await trio.sleep(40)
        upstream.expire(trio.current_time())
        assert upstream.idle == 1
        await trio.sleep(30)
        await get(upstream)
        assert len(seen) == 3  # too old: not used even before anybody expired it
        upstream.close_idle()


@pytest.mark.parametrize("spoil", ["close", "reset", "speak"])
async def test_a_kept_connection_that_died_or_speaks_is_not_used(spoil):
    done = trio.Event()

    async def first(stream):
        await answering(OK, then="none")(stream)
        if spoil == "speak":
            await stream.send_all(OK)
            await done.wait()
        elif spoil == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with backend(first, answering(*[OK] * 3)) as (origin, seen):
        upstream = Upstream(origin)
        await get(upstream)
        await trio.sleep(0.02)
        reply = await upstream.request("GET", "/", [], b"")
        assert not reply.reused
        assert await whole(reply) == b"ok"
        reply.close()
        assert len(seen) == 2
        done.set()
        upstream.close_idle()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_one_that_dies_as_it_is_used_again_is_stale(how):
    async def first(stream):
        await answering(OK, then="none")(stream)
        await read_request(stream)  # the second request is read, and then no answer
        if how == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with backend(first, answering(*[OK] * 3)) as (origin, _):
        upstream = Upstream(origin)
        await get(upstream)
        with pytest.raises(StaleError):
            await get(upstream)
        assert await get(upstream, fresh=True) == (200, b"ok", True)
        upstream.close_idle()


async def test_twenty_stale_ones_in_a_row():
    async with backend(answering(OK, then="close")) as (origin, _):
        upstream = Upstream(origin)
        for _ in range(20):
            assert await get(upstream) == (200, b"ok", True)
            await trio.sleep(0.002)
        upstream.close_idle()


async def test_after_an_answer_byte_it_is_broken_not_stale():
    async def first(stream):
        await answering(OK, then="none")(stream)
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 ")

    async with backend(first) as (origin, _):
        upstream = Upstream(origin)
        await get(upstream)
        with pytest.raises(BrokenError):
            await get(upstream)


async def test_an_answer_left_early_closes_the_connection():
    async with backend(answering(CHUNKED + b"2\r\nok\r\n")) as (origin, _):
        upstream = Upstream(origin)
        reply = await upstream.request("GET", "/", [], b"")
        assert await reply.receive() == b"ok"
        with trio.move_on_after(0.02) as scope:
            await reply.receive()
        assert scope.cancelled_caught
        assert not reply.complete
        assert await reply.receive() == b""
        reply.close()
        assert upstream.idle == 0


async def test_cancelled_at_every_step_it_leaves_no_half_used_connection():
    """Whatever is kept afterwards has answered whole and has nothing unread; everything else is closed at the backend too."""
    body = b"x" * 300_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"y" * 200_000
    async with backend(answering(*[OK, answer, answer])) as (origin, _):
        upstreams: list[Upstream] = []

        async def make() -> None:
            upstream = Upstream(origin)
            upstreams.append(upstream)
            for data in (b"", body):
                reply = await upstream.request("POST", "/", [], data)
                try:
                    await whole(reply)
                finally:
                    reply.close()

        def check() -> None:
            upstream = upstreams.pop()
            for transport, _since in upstream._idle:
                assert transport.peek() is None
            upstream.close_idle()

        assert await sweep(make, check) > 4


# --- reaching it --------------------------------------------------------------------------------------------------------------------


async def test_nobody_there_is_a_connect_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectError, match="refused"):
        await Upstream(Origin("http", "127.0.0.1", port)).request("GET", "/", [], b"")
    with pytest.raises(ConnectError):
        await Upstream(Origin("http", "localhost", port)).request("GET", "/", [], b"")


async def test_an_unknown_name_is_a_connect_error(monkeypatch):
    class Nowhere(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *args, **options):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def getnameinfo(self, *args):
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Nowhere())
    with pytest.raises(ConnectError, match="nowhere.invalid"):
        await Upstream(Origin("http", "nowhere.invalid", 80)).request("GET", "/", [], b"")


async def test_a_dial_that_hangs_ends_after_connect_s(autojump_clock):
    class Never(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *args, **options):
            await trio.sleep_forever()

        async def getnameinfo(self, *args):
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Never())
    with pytest.raises(ConnectError, match="within 5 s"):
        await Upstream(Origin("http", "slow.invalid", 80), connect_s=5).request("GET", "/", [], b"")
    assert trio.current_time() == pytest.approx(5)


async def test_a_full_backlog_ends_after_connect_s():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        crowd = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            crowd.append(sock)
        with pytest.raises(ConnectError, match="within 0.05 s"):
            await Upstream(Origin("http", *listener.getsockname()), connect_s=0.05).request("GET", "/", [], b"")
        for sock in crowd:
            sock.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_names_and_addresses(host):
    async with trio.open_nursery() as nursery:
        family = socket.AF_INET6 if host == "::1" else socket.AF_INET
        try:
            listener = trio.socket.socket(family)
            await listener.bind((host if host != "localhost" else "127.0.0.1", 0))
        except OSError:
            pytest.skip("this machine has no such address")
        listener.listen()
        nursery.start_soon(trio.serve_listeners, answering(OK), [trio.SocketListener(listener)])
        upstream = Upstream(Origin("http", host, listener.getsockname()[1]))
        assert await get(upstream) == (200, b"ok", True)
        upstream.close_idle()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("url", "origin", "path", "authority"),
    [
        ("http://example.com", Origin("http", "example.com", 80), "", "example.com"),
        ("https://Example.COM/v1/", Origin("https", "example.com", 443), "/v1", "example.com"),
        ("http://127.0.0.1:8080/a/b", Origin("http", "127.0.0.1", 8080), "/a/b", "127.0.0.1:8080"),
        ("http://[::1]:80/", Origin("http", "::1", 80), "", "[::1]"),
        ("https://[::1]:80", Origin("https", "::1", 80), "", "[::1]:80"),
        ("https://bücher.example", Origin("https", "xn--bcher-kva.example", 443), "", "xn--bcher-kva.example"),
    ],
)
def test_base_urls(url, origin, path, authority):
    assert Origin.parse(url) == (origin, path)
    assert origin.authority == authority
    assert str(origin) == f"{origin.scheme}://{authority}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "http://",
        "http://[::1",
        "http://a:99999",
        "http://a:0",
        "http://a:b",
        "http://user:secret@a",
        "http://user@a",
        "http://a?x",
        "http://a/?",
        "http://a/#",
        "http://a b",
        "http://a\r\nb",
        "http://a/b c",
        "http://a/b\r\nc",
        "http://a_b!c",
        "http://" + "ä" * 70,
    ],
)
def test_bad_base_urls(url):
    with pytest.raises(LocalProtocolError) as caught:
        Origin.parse(url)
    assert "secret" not in str(caught.value)


async def test_stdlib_server_understands_us():
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, server.serve_forever, 0.01)
            upstream = Upstream(Origin("http", "127.0.0.1", server.server_address[1]))
            for size in (0, 10, 300_000):
                reply = await upstream.request("POST", "/", [], b"z" * size)
                assert await whole(reply) == b"z" * size
                reply.close()
            assert upstream.dials == 1
            upstream.close_idle()
            await trio.to_thread.run_sync(server.shutdown)


async def test_a_peer_that_resets_an_idle_connection_does_not_disturb():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = Upstream(Origin("http", *listener.getsockname()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(get, upstream)
            await trio.testing.wait_all_tasks_blocked()
            peer, _ = listener.accept()
            await until(lambda: peer.recv(1000, socket.MSG_PEEK))
            peer.sendall(OK)
        reset(peer)
        upstream.expire(trio.current_time() + 1000)
        assert upstream.idle == 0
