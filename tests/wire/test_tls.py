"""TLS with a certificate authority of the test's own; the peer is Python's ssl module."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
import trustme

from tests.wire.rig import answering, backend, read_request, settled_tcp_pair
from trioproxy.errors import ConnectError
from trioproxy.testing.sweep import sweep
from trioproxy.wire.client import Origin, Upstream
from trioproxy.wire.sentry import Sentry
from trioproxy.wire.tls import TlsTransport, default_context

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def context(authority):
    context = default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def tls_backend(authority, script, name="localhost", versions=None):
    certificate = authority.issue_cert(name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    certificate.configure_cert(context)
    if versions:
        context.minimum_version = context.maximum_version = versions
    met: list[object] = []

    async def serve(stream):
        try:
            await script(stream)
            met.append("done")
        except trio.BrokenResourceError as exc:
            met.append(exc.__cause__ or exc)
        finally:
            with trio.move_on_after(1):
                await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1"))
        yield Origin("https", "localhost", listeners[0].transport_listener.socket.getsockname()[1]), met
        nursery.cancel_scope.cancel()


async def whole(reply):
    got = b""
    while data := await reply.receive():
        got += data
    return got


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_requests_over_tls_and_the_connection_is_kept(authority, context, version):
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"z" * 1_000_000
    async with tls_backend(authority, answering(OK, big, OK), versions=version) as (origin, _):
        upstream = Upstream(origin, context=context)
        for body, expected in ((b"", b"ok"), (b"x" * 700_000, b"z" * 1_000_000), (b"y", b"ok")):
            reply = await upstream.request("POST", "/", [], body)
            assert await whole(reply) == expected
            assert reply.complete
            reply.close()
        assert upstream.dials == 1
        upstream.close_idle()


async def test_many_records_are_one_receive(authority, context):
    async def script(stream):
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await go.wait()
        for n in range(8):
            await stream.send_all(b"1\r\n%d\r\n" % n)
        await stream.send_all(b"0\r\n\r\n")
        sent.set()
        await trio.sleep_forever()

    go, sent = trio.Event(), trio.Event()
    async with tls_backend(authority, script) as (origin, _):
        upstream = Upstream(origin, context=context)
        reply = await upstream.request("GET", "/", [], b"")
        go.set()
        await sent.wait()
        assert await reply.receive() == b"01234567"
        assert reply.complete
        reply.close()
        upstream.close_idle()


async def failing(origin, context, connect_s=5.0):
    upstream = Upstream(origin, context=context, connect_s=connect_s)
    with trio.fail_after(5), pytest.raises(ConnectError) as caught:
        await upstream.request("POST", "/", [(b"authorization", b"Bearer CANARY")], b"CANARY")
    assert "CANARY" not in str(caught.value)
    return str(caught.value)


async def test_a_wrong_name_is_refused(authority, context):
    async with tls_backend(authority, answering(OK), name="other.example") as (origin, _):
        assert "match" in (await failing(origin, context)).lower()


async def test_an_unknown_issuer_is_refused(authority):
    async with tls_backend(authority, answering(OK)) as (origin, _):
        assert "issuer" in await failing(origin, None)


async def test_an_expired_certificate_is_refused(context, authority):
    import datetime

    late = trustme.CA()
    certificate = late.issue_cert("localhost", not_after=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(server)
    late.configure_trust(context)
    async with trio.open_nursery() as nursery:

        async def serve(stream):
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some(1)
            await trio.aclose_forcefully(stream)

        listeners = await nursery.start(partial(trio.serve_ssl_over_tcp, serve, 0, server, host="127.0.0.1"))
        origin = Origin("https", "localhost", listeners[0].transport_listener.socket.getsockname()[1])
        assert "expired" in await failing(origin, context)
        nursery.cancel_scope.cancel()


async def test_an_old_protocol_is_refused(authority, context):
    server_only_1_3 = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with tls_backend(authority, answering(OK), versions=server_only_1_3) as (origin, _):
        await failing(origin, context)
    assert default_context().minimum_version == ssl.TLSVersion.TLSv1_2


async def test_plain_http_on_the_port_is_refused(context):
    got = []

    async def script(stream):
        got.append(await stream.receive_some(65536))
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with backend(script) as (origin, _):
        await failing(Origin("https", "localhost", origin.port), context)
    assert b"CANARY" not in got[0]


async def test_one_who_closes_in_the_handshake_is_refused(context):
    async def script(stream):
        await stream.receive_some(10)

    async with backend(script) as (origin, _):
        await failing(Origin("https", "localhost", origin.port), context)


async def test_a_handshake_that_hangs_ends_after_connect_s(context):
    async def script(stream):
        await trio.sleep_forever()

    async with backend(script) as (origin, _):
        assert "within 0.1 s" in await failing(Origin("https", "localhost", origin.port), context, 0.1)


async def test_http_1_1_is_negotiated(authority, context):
    spoken = []

    async def script(stream):
        await stream.do_handshake()
        spoken.append(stream.selected_alpn_protocol())
        await answering(OK)(stream)

    async with tls_backend(authority, script) as (origin, _):
        upstream = Upstream(origin, context=context)
        (await upstream.request("GET", "/", [], b"")).close()
    assert spoken == ["http/1.1"]


@pytest.mark.parametrize("goodbye", [True, False])
async def test_an_end_without_goodbye_does_not_complete_an_open_body(authority, context, goodbye):
    async def script(stream):
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        if not goodbye:
            await trio.testing.wait_all_tasks_blocked()
            await stream.transport_stream.aclose()

    async with tls_backend(authority, script) as (origin, _):
        upstream = Upstream(origin, context=context)
        reply = await upstream.request("GET", "/", [], b"")
        assert await whole(reply) == b"until the end"
        assert reply.complete is goodbye
        reply.close()


async def test_the_environment_may_name_the_trust_store(authority, monkeypatch):
    with authority.cert_pem.tempfile() as path:
        monkeypatch.setenv("SSL_CERT_FILE", path)
        async with tls_backend(authority, answering(OK)) as (origin, _):
            upstream = Upstream(origin)
            reply = await upstream.request("GET", "/", [], b"")
            assert await whole(reply) == b"ok"
            reply.close()
            upstream.close_idle()


@asynccontextmanager
async def tls_pair(authority, context):
    """Our transport and the server's side of it as a trio SSL stream."""
    certificate = authority.issue_cert("localhost")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(server)
    a, b = settled_tcp_pair()
    b.setblocking(False)
    theirs = trio.SSLStream(trio.SocketStream(trio.socket.from_stdlib_socket(b)), server, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.do_handshake)
        ours = await TlsTransport.connect(a, context, "localhost")
    try:
        yield ours, theirs
    finally:
        ours.close()
        await trio.aclose_forcefully(theirs)


async def test_as_a_transport(authority, context):
    async with tls_pair(authority, context) as (ours, theirs):
        assert ours.peer.startswith("127.0.0.1:")
        assert ours.fileno() is not None
        assert ours.try_send(b"") == 0
        assert ours.try_send(b"hello") == 5
        assert await theirs.receive_some() == b"hello"
        await theirs.send_all(b"one")
        await theirs.send_all(b"two")
        while ours.peek() is None:
            await trio.lowlevel.wait_readable(ours.fileno())
        assert ours.try_receive() == b"onetwo"
        assert ours.try_receive() is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.farewell)
            assert await theirs.receive_some() == b""
            await theirs.aclose()
        assert ours.try_receive() == b""
        ours.close()
        with pytest.raises(trio.ClosedResourceError):
            await ours.receive()


async def test_a_slow_peer_gets_everything_in_order(authority, context):
    async with tls_pair(authority, context) as (ours, theirs):
        data = bytes(range(256)) * 40_000
        sent = 0
        while taken := ours.try_send(memoryview(data)[sent:]):
            sent += taken
        assert 0 < sent < len(data)
        got = bytearray()

        async def read():
            while len(got) < len(data):
                got.extend(await theirs.receive_some(65536))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await ours.writable()
            await ours.send_all(memoryview(data)[sent:])
        assert got == data


async def test_corrupted_records_break_it(authority, context):
    async with tls_pair(authority, context) as (ours, theirs):
        await theirs.transport_stream.send_all(b"\x17\x03\x03\x00\x05junk!")
        with pytest.raises(trio.BrokenResourceError, match="TLS failed"):
            await ours.receive()


async def test_the_sentry_can_watch_it(authority, context, nursery):
    sentry = Sentry()
    await nursery.start(sentry.run)
    async with tls_pair(authority, context) as (ours, theirs):
        with trio.fail_after(2), trio.CancelScope() as scope, sentry.watching(ours, scope):
            await theirs.aclose()
            await trio.sleep_forever()
        assert scope.cancelled_caught
        sentry.forget(ours)


async def test_cancelled_at_every_step_nothing_is_kept_half_used(authority, context):
    async with tls_backend(authority, answering(OK, OK)) as (origin, _):
        upstreams = []

        async def make():
            upstream = Upstream(origin, context=context)
            upstreams.append(upstream)
            for body in (b"", b"x" * 200_000):
                reply = await upstream.request("POST", "/", [], body)
                try:
                    await whole(reply)
                finally:
                    reply.close()

        def check():
            upstream = upstreams.pop()
            for transport, _since in upstream._idle:
                assert transport.peek() is None
            upstream.close_idle()

        assert await sweep(make, check) > 8
