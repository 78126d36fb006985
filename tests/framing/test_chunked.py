"""ChunkedReader: the body for any partition of the bytes, and nothing but the standard's own framing."""

import random

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.framing.work import Counted, counting
from trioproxy.errors import RemoteProtocolError
from trioproxy.framing import chunked
from trioproxy.framing.chunked import LAST_CHUNK, ChunkedReader, chunk
from trioproxy.testing.strategies import chop, cuts

bodies = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
ENDS = (LAST_CHUNK, b"000\r\n\r\n", b"0;x=y\r\n\r\n", b"0\r\nA: b\r\nC-d:\r\n\r\n")


def read(pieces: list[bytes]) -> tuple[bytes, bool, bytes]:
    reader = ChunkedReader()
    body = b"".join([reader.feed(piece) for piece in pieces])
    return body, reader.ended, reader.rest


@given(bodies, st.sampled_from(ENDS), st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"0\r\n\r\n"]), cuts())
def test_any_partition_gives_the_same_body(parts: list[bytes], end: bytes, rest: bytes, places: list[float]) -> None:
    wire = b"".join(map(chunk, parts)) + end + rest
    assert read(chop(wire, places)) == (b"".join(parts), True, rest)
    assert read([wire[at : at + 1] for at in range(len(wire))]) == (b"".join(parts), True, rest)


@given(bodies, cuts())
def test_a_body_cut_short_has_not_ended(parts: list[bytes], places: list[float]) -> None:
    wire = b"".join(map(chunk, parts)) + LAST_CHUNK
    body, ended, rest = read(chop(wire[:-1], places))
    assert (body, ended, rest) == (b"".join(parts), False, b"")


def test_data_is_given_before_its_chunk_is_whole() -> None:
    reader = ChunkedReader()
    assert reader.feed(b"5\r\nab") == b"ab"
    assert reader.feed(b"c") == b"c"
    assert reader.feed(b"de\r") == b"de"
    assert reader.feed(b"\n1\r\nf\r\n0\r\n") == b"f"
    assert (reader.ended, reader.rest) == (False, b"")
    assert reader.feed(b"\r\nnext") == b""
    assert (reader.ended, reader.rest) == (True, b"next")
    assert reader.feed(b"more") == b""
    assert reader.rest == b"nextmore"


def test_chunk_of_nothing_is_nothing() -> None:
    assert chunk(b"") == b""
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


LAWFUL: dict[bytes, bytes] = {
    b"3\r\nabc\r\n": b"abc",
    b"0003\r\nabc\r\n": b"abc",
    b"0000000000000003\r\nabc\r\n": b"abc",
    b"A\r\n0123456789\r\n": b"0123456789",
    b"a\r\n0123456789\r\n": b"0123456789",
    b"3;\r\nabc\r\n": b"abc",
    b'3;a=b;c="d e"\r\nabc\r\n': b"abc",
    b"3;" + b"x" * 255 + b"\r\nabc\r\n": b"abc",
    b"0000000000000003;" + b"x" * 255 + b"\r\nabc\r\n": b"abc",
    b"2\r\n\r\n\r\n": b"\r\n",
}

REFUSED: dict[str, bytes] = {
    "no size": b"\r\nabc\r\n",
    "no size but an extension": b";a\r\nabc\r\n",
    "not hexadecimal": b"g\r\n",
    "sign": b"+3\r\nabc\r\n",
    "minus": b"-3\r\nabc\r\n",
    "0x": b"0x3\r\nabc\r\n",
    "underscore": b"1_0\r\n",
    "blank before": b" 3\r\nabc\r\n",
    "blank behind": b"3 \r\nabc\r\n",
    "blank before the extension": b"3 ;a\r\nabc\r\n",
    "HTAB behind": b"3\t\r\nabc\r\n",
    "VT behind": b"3\x0b\r\nabc\r\n",
    "17 digits": b"00000000000000003\r\nabc\r\n",
    "20 digits": b"f" * 20 + b"\r\n",
    "Arabic digits": "\u0663\r\nabc\r\n".encode(),
    "LF alone": b"3\nabc\r\n",
    "LF alone, later a CRLF": b"3\nabc\n3\r\nabc\r\n",
    "CR alone": b"3\rabc\r\n",
    "CR CR LF": b"3\r\r\nabc\r\n",
    "NUL in an extension": b"3;a=\x00\r\nabc\r\n",
    "CR in an extension": b"3;a=\rb\r\nabc\r\n",
    "LF in an extension": b"3;a\n\r\nabc\r\n",
    "HTAB in an extension": b"3;a\tb\r\nabc\r\n",
    "DEL in an extension": b"3;\x7f\r\nabc\r\n",
    "extension of 257 bytes": b"3;" + b"x" * 256 + b"\r\nabc\r\n",
    "extension of 20 KB": b"3;" + b"x" * 20_000 + b"\r\nabc\r\n",
    "chunk longer than its size": b"3\r\nabcd\r\n",
    "chunk shorter than its size": b"4\r\nabc\r\n0\r\n\r\n",
    "LF behind the data": b"3\r\nabc\n3\r\n",
    "CR behind the data": b"3\r\nabc\r3\r\n",
    "nothing behind the data": b"3\r\nabc3\r\nabc\r\n",
    "LF behind the last chunk": b"0\n\r\n",
    "LF instead of the empty line": b"0\r\n\n",
    "trailer without a colon": b"0\r\nabc\r\n\r\n",
    "trailer with a blank before its colon": b"0\r\na : b\r\n\r\n",
    "folded trailer": b"0\r\na: b\r\n c\r\n\r\n",
    "trailer with LF": b"0\r\na: b\nc: d\r\n\r\n",
    "trailer with NUL": b"0\r\na: \x00\r\n\r\n",
    "trailers over 8 KiB": b"0\r\n" + b"a: b\r\n" * 1366 + b"\r\n",
    "one trailer over 8 KiB": b"0\r\na: " + b"b" * 8200 + b"\r\n\r\n",
}


@pytest.mark.parametrize("wire", LAWFUL)
def test_lawful_forms_are_read(wire: bytes) -> None:
    assert read([wire, LAST_CHUNK]) == (LAWFUL[wire], True, b"")
    assert read([bytes([byte]) for byte in wire + LAST_CHUNK]) == (LAWFUL[wire], True, b"")


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_loose_framing_is_refused(name: str, size: int) -> None:
    wire = REFUSED[name]
    with pytest.raises(RemoteProtocolError):
        read([wire[at : at + size] for at in range(0, len(wire), size)])


@pytest.mark.parametrize("opening", [b"", b"3;", b"0\r\n", b"0\r\nA: "])
def test_an_endless_line_is_refused_early(opening: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read([opening, *[b"1"] * 9000])


def test_trailers_up_to_8_kib_are_forgotten() -> None:
    trailers = b"a: b\r\n" * 1365
    assert read([b"1\r\nx\r\n0\r\n", trailers[:4000], trailers[4000:], b"\r\n"]) == (b"x", True, b"")


def test_limit_line_is_the_callers() -> None:
    assert ChunkedReader(limit_line=4).feed(b"3;ab\r\nabc") == b"abc"
    with pytest.raises(RemoteProtocolError):
        ChunkedReader(limit_line=4).feed(b"3;abc\r\nabc")


HOSTILE = {
    "one byte a chunk": (b"1\r\nx\r\n" * 20_000, 65_536),
    "one byte a chunk, with extensions": ((b"1;" + b"e" * 255 + b"\r\nx\r\n") * 500, 65_536),
    "one large chunk": (b"%x\r\n" % (1 << 20) + b"x" * (1 << 20), 1000),
    "byte by byte": (b"3\r\nabc\r\n" * 3000, 1),
    "lines torn": (b"3\r\nabc\r\n" * 20_000, 65_533),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_work_grows_with_the_bytes_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, size = HOSTILE[name]
    with counting(chunked, monkeypatch) as work:
        reader = ChunkedReader()
        for at in range(0, len(text), size):
            reader.feed(Counted(text[at : at + size]))
    assert work.bytes <= 8 * len(text)


def by_h11(wire: bytes) -> tuple[bytes, bool, bytes]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n" + wire)
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return body, True, connection.trailing_data[0]
        elif not isinstance(event, h11.Request):
            return body, False, b""


def test_what_is_accepted_h11_reads_the_same() -> None:
    """3,000 seeded mutations: whatever framing passes here means the same to another reader."""
    draw = random.Random(20261)
    accepted = 0
    seeds = [b"3\r\nabc\r\n1\r\nx\r\n" + end for end in ENDS] + [wire + LAST_CHUNK for wire in LAWFUL]
    bites = [b"\r", b"\n", b"\r\n", b"0", b"1", b"f", b";", b" ", b"\t", b"\x00", b"+", b"x", b"_", b"0\r\n", b"\r\n\r\n", b"a: b\r\n"]
    for _ in range(3000):
        wire = bytearray(draw.choice(seeds))
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(wire) + 1)
            wire[at : at + draw.choice((0, 0, 1, 2))] = draw.choice(bites)
        size = draw.choice((1, 4, 1000))
        try:
            found = read([bytes(wire[at : at + size]) for at in range(0, len(wire), size)])
        except RemoteProtocolError:
            continue
        accepted += 1
        assert found == by_h11(bytes(wire)), bytes(wire)
    assert accepted > 200


def test_remembered_sizes_are_few() -> None:
    for size in range(5000):
        ChunkedReader().feed(b"%x\r\n" % size)
        ChunkedReader().feed(b"%x;a\r\n" % size)
    assert len(chunked._sizes) <= 11_154
    assert max(map(len, chunked._sizes)) == chunked._DIGITS_KEPT
