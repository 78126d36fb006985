"""Two readers, one meaning: whatever the gate accepts, h11 reads the same, down to the last byte of the body."""

import random
from typing import NamedTuple

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.errors import HttpError, RemoteProtocolError
from trioproxy.wire.gate import Head, parse_head, parse_response_head

CANARY = b"GET /canary HTTP/1.1\r\nHost: c\r\n\r\n"
LONGEST = 4096  # bytes of a body that is played through
STATUSES = {400, 414, 417, 431, 501, 505}


class Play(NamedTuple):
    """What h11 makes of some bytes: the head, whether a 100 was waited for then, the body, whether it ended, and the bytes that belong to nobody."""

    head: h11.Request | h11.Response | h11.InformationalResponse
    waiting: bool
    body: bytes
    ended: bool
    rest: bytes


def lowered(fields: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    joined: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        joined.setdefault(name, []).append(value.lower() if name == b"transfer-encoding" else value)
    return {name: b", ".join(values) for name, values in joined.items()}


def played(connection: h11.Connection, wire: bytes) -> Play:
    connection.receive_data(wire)
    head = connection.next_event()
    assert isinstance(head, h11.Request | h11.Response | h11.InformationalResponse)
    waiting = connection.they_are_waiting_for_100_continue
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    return Play(head, waiting, body, isinstance(event, h11.EndOfMessage), connection.trailing_data[0])


def body_for(length: int | None, chunked: bool) -> tuple[bytes, bytes]:
    """A body and its bytes on the wire."""
    if chunked:
        return b"abcd", b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
    body = b"x" * min(length or 0, LONGEST)
    return body, body


def agree(raw: bytes, head: Head) -> None:
    body, wire = body_for(head.length, head.chunked)
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    play = played(connection, raw.removeprefix(b"\r\n") + wire + CANARY)
    request = play.head
    assert isinstance(request, h11.Request)
    assert (request.method.decode(), request.target.decode(), request.http_version) == (head.method, head.target, b"1.%d" % head.minor)
    assert lowered(list(request.headers)) == lowered(list(head.headers.items()))
    assert play.waiting == head.expects
    if (head.length or 0) > LONGEST:
        assert not play.ended
        return
    assert play[2:] == (body, True, CANARY)
    if head.minor:
        # h11 never keeps an HTTP/1.0 connection, whatever is asked for.
        assert (connection.their_state is h11.DONE) == head.keep_alive


def checked(raw: bytes) -> Head | None:
    """The gate's reading, found equal to h11's; None when it was refused in the way it may be."""
    try:
        head = parse_head(raw, 256, 20)
    except HttpError as error:
        if error.status not in STATUSES:
            raise
        return None
    agree(raw, head)
    return head


def checked_answer(raw: bytes) -> tuple[int, int | None, bool] | None:
    try:
        status, headers, length, chunked, keep_alive = parse_response_head(raw)
    except RemoteProtocolError as error:
        if type(error) is not RemoteProtocolError:
            raise
        return None
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    connection.send(h11.EndOfMessage())
    body, wire = body_for(length, chunked)
    if status < 200:
        connection.receive_data(raw)
        response = connection.next_event()
    else:
        play = played(connection, raw + wire + CANARY)
        response = play.head
        if length is None and not chunked:
            assert (play.body, play.ended, keep_alive) == (CANARY, False, False)
        elif (length or 0) <= LONGEST:
            assert play[2:] == (body, True, CANARY)
            assert play.head.http_version == b"1.0" or (connection.their_state is h11.DONE) == keep_alive
    assert isinstance(response, h11.InformationalResponse if status < 200 else h11.Response)
    assert response.status_code == status
    assert lowered(list(response.headers)) == lowered(list(headers.items()))
    return status, length, chunked


HEADS = [
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\r\nOPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    b"GET /v1/models?a=b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: h:1\r\nContent-Length: 12\r\nContent-Type: application/json\r\nAuthorization: Bearer sk\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nx-api-key: sk\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
    b"DELETE /v1/responses/r HTTP/1.1\r\nHost: h\r\nAccept: a\r\nAccept: b\r\nX: \xe9 \t a\r\nConnection: x, close\r\n\r\n",
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Type: application/json\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
    b"HTTP/1.0 503 busy \xe9\r\nRetry-After: 5\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
]
BITES = [
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"\r\r\n",
        b"\n\r",
        b" ",
        b"\t",
        b"\x00",
        b"\x01",
        b"\x0b",
        b"\x0c",
        b"\x1c",
        b"\x7f",
        b"\x80",
        b"\xa0",
        b"\xff",
    ),
    *(
        b":",
        b",",
        b";",
        b"=",
        b'"',
        b"#",
        b"?",
        b"/",
        b"*",
        b"0",
        b"5",
        b"a",
        b"A",
        b"\r\n ",
        b"\r\n\t",
        b" :",
        b": ",
        b"+",
        b"-",
        b"_",
        b"@",
        b"%",
        b"chunked",
        b"HTTP/1.1",
    ),
    *(
        b"\r\nContent-Length: 3",
        b"\r\nContent-Length: 0",
        b"\r\nTransfer-Encoding: chunked",
        b"\r\ntransfer-encoding:\tCHUNKED ",
        b"\r\nHost: i",
        b"\r\nA: b",
        b"\r\nA:",
    ),
    *(
        b"\r\nConnection: close",
        b"\r\nconnection:keep-alive,\tClose",
        b"\r\nExpect: 100-Continue",
        b"\r\nX-Api-Key: k",
        b"\r\nAuthorization: k",
        b"HTTP/1.0",
        b"HTTP/2.0",
    ),
]


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A lawful head, bitten a few times."""
    raw = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.sampled_from(BITES)) + raw[at + draw(st.integers(0, 3)) :]
    return raw


@given(mutated(HEADS))
def test_an_accepted_head_means_the_same_to_h11(raw: bytes) -> None:
    checked(raw)


@given(mutated(ANSWERS))
def test_an_accepted_answer_means_the_same_to_h11(raw: bytes) -> None:
    checked_answer(raw)


tokens = st.text(st.sampled_from("abcXYZ019-_.!#$%&'*+^`|~"), min_size=1, max_size=12).map(str.encode)
words = st.binary(max_size=16).map(lambda value: bytes(byte for byte in value if byte == 9 or 0x20 <= byte < 0x7F or byte >= 0x80))


@given(st.lists(st.tuples(tokens, words), max_size=8), st.sampled_from([b" ", b"", b"\t", b"  \t"]), st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]))
def test_lawful_fields_of_any_kind_are_accepted_and_mean_the_same(fields: list[tuple[bytes, bytes]], blank: bytes, version: bytes) -> None:
    lines = [name + b":" + blank + value + blank for name, value in fields]
    head = checked(b"\r\n".join([b"GET / " + version, b"Host: h", *lines]) + b"\r\n\r\n")
    assert head is not None
    assert set(head.headers) == {b"host", *(name.lower() for name, _ in fields)}


@given(st.binary(max_size=80), st.booleans())
def test_noise_raises_nothing_but_what_is_declared(noise: bytes, ended: bool) -> None:
    raw = noise + b"\r\n\r\n" * ended
    checked(raw)
    checked_answer(raw)


@pytest.mark.parametrize("raw", HEADS)
def test_the_seeds_are_lawful(raw: bytes) -> None:
    assert checked(raw) is not None


@pytest.mark.parametrize("raw", ANSWERS)
def test_the_seeds_of_answers_are_lawful(raw: bytes) -> None:
    assert checked_answer(raw) is not None


def bitten(draw: random.Random, seeds: list[bytes]) -> bytes:
    """One mutation out of the five usual kinds: bite, drop, swap two lines, repeat a line, another byte."""
    raw = draw.choice(seeds)
    for _ in range(draw.choice((1, 1, 2, 3))):
        at, kind = draw.randrange(len(raw) + 1), draw.randrange(5)
        lines = raw[:-4].split(b"\r\n")
        if kind == 0:
            raw = raw[:at] + draw.choice(BITES) + raw[at:]
        elif kind == 1:
            raw = raw[:at] + raw[at + draw.randrange(1, 9) :]
        elif kind == 2:
            raw = b"\r\n".join([lines[0], *draw.sample(lines[1:], len(lines) - 1)]) + b"\r\n\r\n"
        elif kind == 3:
            raw = b"\r\n".join([*lines, draw.choice(lines).swapcase()]) + b"\r\n\r\n"
        else:
            raw = raw[:at] + bytes([draw.randrange(256)]) + raw[at + 1 :]
    return raw


def test_three_thousand_seeded_mutations() -> None:
    """Many are refused and many are not: a fuzzer that only ever hits one side would prove nothing."""
    draw = random.Random(20262)
    accepted = sum(checked(bitten(draw, HEADS)) is not None for _ in range(2000))
    assert 300 < accepted < 1500
    answered = sum(checked_answer(bitten(draw, ANSWERS)) is not None for _ in range(1000))
    assert 150 < answered < 800
