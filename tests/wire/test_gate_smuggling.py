"""A corpus of heads that two readers could understand differently. Each is refused, with its status, and nothing of it is repeated."""

import pytest

from trioproxy.errors import HttpError, RemoteProtocolError
from trioproxy.wire.gate import parse_head, parse_response_head

TARGET, FIELDS = 1024, 100
CANARY = "canary"


def post(*lines: bytes, start: bytes = b"POST /v1/x HTTP/1.1", host: bytes = b"Host: h") -> bytes:
    """A head of `lines`, each ended with CRLF."""
    return b"\r\n".join([start, *([host] if host else []), *lines]) + b"\r\n\r\n"


Case = tuple[str, bytes, int]
CL, TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"


def lengths() -> list[Case]:
    values = {
        **{f"length {value!r}": value for value in (b"+5", b"-5", b"5, 5", b"5,5", b"5, 6", b"5 5", b"0x5", b"05", b"00", b"000", b"5.0", b"5;", b'"5"')},
        **{f"length {value!r}": value for value in (b"", b" ", b"1e1", b"1_0", b"5a", b"a", b"5,", b",5", b"5=5", b"5\xa0", b"\xc2\xa05")},
        "length in Arabic digits": "٥".encode(),
        "length in wide digits": "５".encode(),
        "length of 16 digits": b"1" * 16,
        "length of 20 digits": b"9" * 20,
        "length of 5,000 digits": b"9" * 5000,
    }
    rows = [(name, post(b"Content-Length: " + value), 400) for name, value in values.items()]
    rows += [(f"length with {byte:#04x} behind", post(b"Content-Length: 5" + bytes([byte])), 400) for byte in (0, 1, 0x0B, 0x0C, 0x1C, 0x7F)]
    rows += [(f"length with {byte:#04x} before", post(b"Content-Length: " + bytes([byte]) + b"5"), 400) for byte in (0, 1, 0x0B, 0x0C, 0x1C, 0x7F)]
    rows += [
        ("two equal lengths", post(CL, CL), 400),
        ("two lengths", post(CL, b"Content-Length: 6"), 400),
        ("two lengths, other case", post(CL, b"content-length: 6"), 400),
        ("two lengths apart", post(CL, b"A: b", b"CONTENT-LENGTH: 0"), 400),
        ("three lengths", post(CL, CL, CL), 400),
        ("length with a blank before its colon", post(b"Content-Length : 5"), 400),
        ("length with HTAB before its colon", post(b"Content-Length\t: 5"), 400),
        ("length and a name of bytes beyond ASCII", post(b"Content-\xcc\x8alength: 5"), 400),
    ]
    return rows


def codings() -> list[Case]:
    unknown = (b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity", b"chunked, identity", b"xchunked", b"chunked-x", b"x-chunked", b"deflate,chunked")
    broken = (
        b"chunked, chunked",
        b"chunked,",
        b",chunked",
        b", chunked",
        b"",
        b'"chunked"',
        b"chunked;q=1",
        b"chunked; x",
        b"chun ked",
        b"chunked x",
        b"chunked =",
    )
    rows = [(f"coding {value!r}", post(b"Transfer-Encoding: " + value), 501) for value in unknown]
    rows += [(f"coding {value!r}", post(b"Transfer-Encoding: " + value), 400) for value in broken]
    rows += [(f"coding with {byte:#04x} behind", post(TE + bytes([byte])), 400) for byte in (0, 1, 0x0B, 0x0C, 0x1C, 0x7F, 0x85, 0xA0)]
    rows += [(f"coding with {byte:#04x} before", post(b"Transfer-Encoding: " + bytes([byte]) + b"chunked"), 400) for byte in (0, 1, 0x0B, 0x0C, 0x7F, 0xA0)]
    rows += [
        ("coding twice", post(TE, TE), 400),
        ("coding twice, one unknown", post(TE, b"Transfer-encoding: x"), 400),
        ("coding twice, one empty", post(b"Transfer-Encoding:", TE), 400),
        ("coding on HTTP/1.0", post(TE, start=b"POST /v1/x HTTP/1.0"), 400),
        ("coding with a blank before its colon", post(b"Transfer-Encoding : chunked"), 400),
        ("coding with HTAB before its colon", post(b"Transfer-Encoding\t: chunked"), 400),
        ("coding without a colon", post(b"Transfer-Encoding chunked"), 400),
        ("coding with an equals sign", post(b"Transfer-Encoding= chunked"), 400),
        ("coding in a folded line", post(b"A: b", b" Transfer-Encoding: chunked"), 400),
        ("coding whose value is folded", post(b"Transfer-Encoding:", b" chunked"), 400),
        ("coding whose value is folded with HTAB", post(b"Transfer-Encoding:", b"\tchunked"), 400),
        ("coding cut by a fold", post(b"Transfer-Encoding: chun", b" ked"), 400),
        ("coding behind a bare CR", post(b"A: b\rTransfer-Encoding: chunked"), 400),
        ("coding behind a bare LF", post(b"A: b\nTransfer-Encoding: chunked"), 400),
        ("coding behind NUL", post(b"A: b\x00Transfer-Encoding: chunked"), 400),
        ("coding behind LF CR", post(b"A: b\n\rTransfer-Encoding: chunked"), 400),
        ("coding behind CR CR LF", post(b"A: b\r\r\nTransfer-Encoding: chunked"), 400),
    ]
    return rows


def both() -> list[Case]:
    rows = []
    for length in (CL, b"Content-Length: 0", b"content-length:5", b"CONTENT-LENGTH: 5", b"Content-Length:\t5"):
        for coding in (TE, b"transfer-encoding:chunked", b"TRANSFER-ENCODING: CHUNKED", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: identity"):
            rows.append((f"{length!r} then {coding!r}", post(length, coding), 400))
            rows.append((f"{coding!r} then {length!r}", post(coding, b"A: b", length), 400))
    rows.append(("both on HTTP/1.0", post(CL, TE, start=b"POST /v1/x HTTP/1.0"), 400))
    rows.append(("length beside an empty coding", post(CL, b"Transfer-Encoding:"), 400))
    return rows


def lines() -> list[Case]:
    lawful = post(CL, b"A: b")
    rows = [
        ("LF everywhere", lawful.replace(b"\r\n", b"\n"), 400),
        ("CR everywhere", lawful.replace(b"\r\n", b"\r"), 400),
        ("LF behind the request line", lawful.replace(b"\r\n", b"\n", 1), 400),
        ("CR behind the request line", lawful.replace(b"\r\n", b"\r", 1), 400),
        ("LF at the end", lawful[:-2] + b"\n", 400),
        ("LF LF at the end", lawful[:-4] + b"\n\n", 400),
        ("CR CR LF", lawful.replace(b"\r\n", b"\r\r\n", 2), 400),
        ("LF CR LF", lawful.replace(b"5\r\n", b"5\n\r\n"), 400),
        ("no end", lawful[:-2], 400),
        ("two heads at once", lawful + lawful, 400),
        ("an empty line inside", lawful.replace(b"A: b", b"\r\nA: b"), 400),
        ("bytes behind the end", lawful + b"x", 400),
        ("two empty lines in front", b"\r\n\r\n" + lawful, 400),
        ("LF in front", b"\n" + lawful, 400),
        ("CR in front", b"\r" + lawful, 400),
        ("blank in front", b" " + lawful, 400),
        ("nothing but the end", b"\r\n\r\n", 400),
        ("nothing", b"", 400),
        ("fold behind Host", post(b" x: b", host=b"Host: h"), 400),
        ("fold with HTAB behind Host", post(b"\tx", host=b"Host: h"), 400),
        ("fold at once", post(host=b" Host: h"), 400),
        ("fold of blanks only", post(b"A: b", b"  "), 400),
        ("fold behind the length", post(CL, b" 0"), 400),
        ("field without a colon", post(b"Host"), 400),
        ("field of a known name without a colon", post(b"Accept"), 400),
        ("field without a name", post(b": b"), 400),
        ("field that is a colon", post(b":"), 400),
        ("name with obs-text", post(b"A\xe9: b"), 400),
    ]
    rows += [(f"value with {byte:#04x}", post(b"A: a" + bytes([byte]) + b"b"), 400) for byte in (*range(9), *range(10, 32), 0x7F)]
    rows += [(f"name with {bytes([byte])!r}", post(b"A" + bytes([byte]) + b"A: b"), 400) for byte in b'\x00\t\x0b\x7f\x80 "(),/;<=>?@[\\]{}']
    return rows


def starts() -> list[Case]:
    bad = {
        400: (
            *(b"GET /", b"GET", b"", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"GET\t/\tHTTP/1.1", b"GET / HTTP/1.1\t", b"GET / x HTTP/1.1"),
            *(
                b"GET / http/1.1",
                b"GET / HTTP/1",
                b"GET / HTTP/11",
                b"GET / HTTP/1.10",
                b"GET / HTTP/01.1",
                b"GET / HTTPS/1.1",
                b"GET / HTTP/1.1x",
                b"GET / HTTP/1,1",
            ),
            *(b"GET / XTTP/1.1", b"GET / HTTP/+1.1", b"HTTP/1.1 200 OK"),
            *(b"get / HTTP/1.1", b"Get / HTTP/1.1", b"G@T / HTTP/1.1", b"GET: / HTTP/1.1", b"(GET) / HTTP/1.1", b"M-SEARCH / HTTP/1.1", b"G\xc9T / HTTP/1.1"),
            b"G" * 33 + b" / HTTP/1.1",
            *(b"GET http://h/ HTTP/1.1", b"GET https://h/ HTTP/1.1", b"GET h HTTP/1.1", b"GET h:80 HTTP/1.1", b"CONNECT h:443 HTTP/1.1", b"GET * HTTP/1.1"),
            *(
                b"POST * HTTP/1.1",
                b"GET # HTTP/1.1",
                b"GET /# HTTP/1.1",
                b"GET /a?b#c HTTP/1.1",
                b"GET ?a HTTP/1.1",
                b"GET \\a HTTP/1.1",
                b"GET /\xc3\xa9 HTTP/1.1",
            ),
            *(
                b"GET /\x80 HTTP/1.1",
                b"GET /\t HTTP/1.1",
                b"GET /\x00 HTTP/1.1",
                b"GET /\x7f HTTP/1.1",
                b"GET /\r HTTP/1.1",
                b"GET /\n HTTP/1.1",
                b"OPTIONS ** HTTP/1.1",
            ),
        ),
        505: (b"GET / HTTP/0.9", b"GET / HTTP/1.2", b"GET / HTTP/1.9", b"GET / HTTP/2.0", b"GET / HTTP/3.0", b"PRI * HTTP/2.0", b"GET / HTTP/0.0"),
        414: (b"GET /" + b"a" * TARGET + b" HTTP/1.1", b"GET /?" + b"a" * 9000 + b" HTTP/1.1", b"GET /" + b"a" * 9000, b"GET /" + b"a " * 9000 + b"HTTP/1.1"),
    }
    return [(f"{start[:30]!r}", post(start=start), status) for status, group in bad.items() for start in group]


def hosts() -> list[Case]:
    values = (
        b"",
        b"a b",
        b"a/b",
        b"a@b",
        b"a,b",
        b"a#b",
        b"a?b",
        b"a:b",
        b"a:",
        b"a:+80",
        b"a:99999",
        b"a:65536",
        b"a:000080",
        b"a:80:80",
        b"http://a",
        b"[::1",
        b"::1",
    )
    odd = (b"[::1]x", b"[::1]:x", b"[]", b"[h]", b"u:p@h", b"a\xe9", b"a\x7f", b"a\x00", b"a\\b", b'"a"', b"a%00", b"<a>", b"a" * 256, b"a\tb", b"*")
    rows = [(f"host {value[:20]!r}", post(host=b"Host: " + value), 400) for value in values + odd]
    rows += [
        ("no host", post(host=b""), 400),
        ("two hosts", post(b"Host: i"), 400),
        ("two equal hosts", post(b"Host: h"), 400),
        ("two hosts, other case", post(b"hOST: i"), 400),
        ("host with a blank before its colon", post(host=b"Host : h"), 400),
        ("two hosts on HTTP/1.0", post(b"Host: i", start=b"POST /v1/x HTTP/1.0"), 400),
        ("bad host on HTTP/1.0", post(host=b"Host: a b", start=b"POST /v1/x HTTP/1.0"), 400),
    ]
    return rows


def meanings() -> list[Case]:
    auth, key, goog = b"Authorization: Bearer canary", b"X-Api-Key: canary", b"X-Goog-Api-Key: canary"
    rows = [(f"{first!r} and {second!r}", post(first, second), 400) for first in (auth, key, goog) for second in (auth, key, goog)]
    rows += [
        (f"expectation {value!r}", post(b"Expect: " + value), 417)
        for value in (b"", b"100", b"canary", b"100-continue, x", b"100-continue,100-continue", b"200-ok")
    ]
    rows += [
        ("two expectations", post(b"Expect: 100-continue", b"Expect: 100-continue"), 417),
        ("unknown expectation on HTTP/1.0", post(b"Expect: x", start=b"POST /v1/x HTTP/1.0"), 417),
        ("two content types", post(b"Content-Type: a/b", b"content-type: canary"), 400),
        ("too many fields", post(*[b"A%d: b" % number for number in range(FIELDS)]), 431),
        ("too many fields of one name", post(*[b"A: b"] * FIELDS), 431),
        ("too many empty lines of fields", post(*[b"x:"] * 5000), 431),
    ]
    return rows


CORPUS = [*lengths(), *codings(), *both(), *lines(), *starts(), *hosts(), *meanings()]


@pytest.mark.parametrize(("raw", "status"), [row[1:] for row in CORPUS], ids=[row[0] for row in CORPUS])
def test_an_ambiguous_head_is_refused(raw: bytes, status: int) -> None:
    with pytest.raises(HttpError) as caught:
        parse_head(raw, TARGET, FIELDS)
    assert caught.value.status == status, caught.value
    assert caught.value.close
    assert CANARY not in str(caught.value)


def test_the_corpus_is_large_and_says_each_thing_once() -> None:
    assert len(CORPUS) >= 300
    assert len({raw for _, raw, _ in CORPUS}) >= len(CORPUS) - 3, "the pairs of one key with itself come as two equal rows"


def answer(*fields: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([start, *fields]) + b"\r\n\r\n"


ANSWERS: list[tuple[str, bytes]] = [
    *[
        (f"start {start!r}", answer(start=start))
        for start in (b"", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 20", b"HTTP/1.1 2000", b"HTTP/1.1  200", b"HTTP/1.1 abc")
    ],
    *[(f"start {start!r}", answer(start=start)) for start in (b"HTTP/1.2 200 OK", b"HTTP/2 200", b"HTTP/2.0 200 OK", b"HTTP/0.9 200 OK", b"http/1.1 200 OK")],
    *[
        (f"start {start!r}", answer(start=start))
        for start in (b"HTTP/1.1 000 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 600 OK", b"HTTP/1.1 999 OK", b"HTTP/1.1 200OK")
    ],
    *[
        (f"start {start!r}", answer(start=start))
        for start in (b" HTTP/1.1 200 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 +20 OK", b"ICY 200 OK", b"GET / HTTP/1.1", b"<html>")
    ],
    *[(f"reason with {byte:#04x}", answer(start=b"HTTP/1.1 200 a" + bytes([byte]) + b"b")) for byte in (0, 1, 0x0A, 0x0B, 0x0D, 0x7F)],
    *[
        (f"length {value!r}", answer(b"Content-Length: " + value))
        for value in (b"", b"+5", b"-5", b"5, 5", b"05", b"0x5", b"5 5", b"9" * 16, "５".encode(), b"a")
    ],
    *[
        (f"coding {value!r}", answer(b"Transfer-Encoding: " + value))
        for value in (b"", b"gzip", b"gzip, chunked", b"identity", b"chunked, chunked", b"xchunked", b"chunked;x")
    ],
    *[(f"value with {byte:#04x}", answer(b"A: b" + bytes([byte]) + b"c")) for byte in (0, 1, 8, 0x0A, 0x0B, 0x0C, 0x0D, 0x1F, 0x7F)],
    *[(f"name with {bytes([byte])!r}", answer(b"A" + bytes([byte]) + b": c")) for byte in b'\x00\t \x80()/@"'],
    ("two lengths", answer(CL, b"Content-Length: 6")),
    ("two equal lengths", answer(CL, CL)),
    ("length and coding", answer(CL, TE)),
    ("coding and length", answer(TE, CL)),
    ("coding twice", answer(TE, TE)),
    ("coding on HTTP/1.0", answer(TE, start=b"HTTP/1.0 200 OK")),
    ("a body announced with 204", answer(CL, start=b"HTTP/1.1 204 No Content")),
    ("chunks announced with 204", answer(TE, start=b"HTTP/1.1 204 No Content")),
    ("chunks announced with 304", answer(TE, start=b"HTTP/1.1 304 Not Modified")),
    ("a body announced with 100", answer(CL, start=b"HTTP/1.1 100 Continue")),
    ("chunks announced with 103", answer(TE, start=b"HTTP/1.1 103 Early Hints")),
    ("fold", answer(b"A: b", b" c")),
    ("fold at once", answer(b" A: b")),
    ("fold with HTAB", answer(CL, b"\t0")),
    ("LF everywhere", answer(CL).replace(b"\r\n", b"\n")),
    ("LF behind the status line", answer(CL).replace(b"\r\n", b"\n", 1)),
    ("LF at the end", answer(CL)[:-2] + b"\n"),
    ("CR CR LF", answer(CL, b"A: b").replace(b"5\r\n", b"5\r\r\n")),
    ("split by CR LF CR LF", answer(CL) + answer(CL)),
    ("an empty line in front", b"\r\n" + answer(CL)),
    ("no colon", answer(b"Date")),
    ("no name", answer(b": x")),
    ("name, blank, colon", answer(b"Content-Length : 5")),
    ("too many fields", answer(*[b"A: b"] * 257)),
    ("h2 settings", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n\r\n"),
    ("nothing", b""),
]


@pytest.mark.parametrize("raw", [row[1] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_an_ambiguous_answer_is_refused(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_response_head(raw)
    assert not isinstance(caught.value, HttpError), "an upstream's fault is not the client's"
