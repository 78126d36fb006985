"""Backends over HTTPS: a certificate that is not trusted is sent nothing, least of all a key."""

import json
import ssl
from functools import partial

import attrs
import pytest
import trio
import trustme

from tests.relay.scripts import DONE, RESPOND_STREAM, ROLE, STOP, kinds, said, text_of
from trioproxy.config.schema import BackendConfig, Config, CredentialConfig
from trioproxy.gateway.gateway import open_gateway
from trioproxy.model.limits import Limits, Retry
from trioproxy.pool.credential import Secret
from trioproxy.testing.memory import MemoryGateway

BODY = b"".join((ROLE, *said("over", " TLS"), STOP, DONE))
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(BODY)
KEY = "sk-upstream-0123456789"


@pytest.fixture
async def server(nursery, tmp_path):
    """(port, path of the authority's certificate, what was received)."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    received = []

    async def serve(stream):
        try:
            while data := await stream.receive_some():
                received.append(data)
                await stream.send_all(HEAD + BODY)
        except trio.BrokenResourceError:
            pass  # a client that does not trust us

    listeners = await nursery.start(partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1"))
    return listeners[0].transport_listener.socket.getsockname()[1], str(tmp_path / "ca.pem"), received


def config(origin, tls_ca):
    backend = BackendConfig("b", origin, "chat", credentials=(CredentialConfig("a", Secret(KEY)),), models=("m",), tls_ca=tls_ca)
    return Config(backends=(backend,), retry=Retry(rounds=0), limits=Limits(connect_s=5))


async def ask(nursery, settled):
    async with open_gateway(settled) as gateway:
        return await MemoryGateway(gateway, nursery).post("/v1/responses", RESPOND_STREAM)


async def test_an_answer_over_tls(nursery, server):
    port, ca, received = server
    answer = await ask(nursery, config(f"https://localhost:{port}/v1", ca))
    assert text_of(answer) == "over TLS"
    assert kinds(answer)[-2:] == ["response.completed", "[DONE]"]
    assert KEY.encode() in b"".join(received)


async def test_an_authority_nobody_trusts_or_another_name_is_sent_nothing(nursery, server):
    port, ca, received = server
    stranger = config(f"https://localhost:{port}/v1", None)
    other_name = config(f"https://127.0.0.1:{port}/v1", ca)
    for settled in (stranger, other_name):
        answer = await ask(nursery, settled)
        assert answer.status == 502
        assert json.loads(answer.body)["error"]["message"]
    assert not received


async def test_ssl_cert_file_is_honoured(nursery, server, monkeypatch):
    port, ca, _ = server
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    answer = await ask(nursery, config(f"https://localhost:{port}/v1", None))
    assert text_of(answer) == "over TLS"


async def test_plain_http_on_a_tls_port_is_no_answer(nursery, server):
    port, _, received = server
    settled = config(f"http://localhost:{port}/v1", None)
    answer = await ask(nursery, attrs.evolve(settled, limits=Limits(connect_s=5, head_s=5)))
    assert answer.status == 502
    assert not received
