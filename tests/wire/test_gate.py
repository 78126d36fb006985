"""What the gate lets through, and how it reads it."""

import h11
import pytest

from trioproxy.errors import HttpError, RemoteProtocolError
from trioproxy.wire import gate
from trioproxy.wire.gate import Head, find_head, parse_head, parse_response_head


def head(*fields: bytes, start: bytes = b"POST /v1/x HTTP/1.1", host: bytes = b"Host: h") -> Head:
    return parse_head(b"\r\n".join([start, host, *fields]) + b"\r\n\r\n", 64, 10)


def test_an_ordinary_head_is_read() -> None:
    raw = b"POST /v1/messages?beta=true&a HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-Api-Key:  sk-1 \r\nContent-Length: 12\r\naccept:\t*/*\r\nEMPTY:\r\n\r\n"
    headers = {b"host": b"127.0.0.1:8080", b"x-api-key": b"sk-1", b"content-length": b"12", b"accept": b"*/*", b"empty": b""}
    assert parse_head(raw, 1024, 100) == Head(
        method="POST",
        target="/v1/messages?beta=true&a",
        path="/v1/messages",
        query="beta=true&a",
        minor=1,
        headers=headers,
        length=12,
        chunked=False,
        keep_alive=True,
        expects=False,
    )


def test_ordinary_heads_never_reach_h11(monkeypatch: pytest.MonkeyPatch) -> None:
    """h11 takes ten times as long, so it sees only what is unusual."""
    monkeypatch.setattr(gate, "h11", None)
    head(b"Authorization: Bearer sk-1", b"Content-Length: 2", b"X-Seen-Never-Before: 1")
    parse_response_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-New-Too: 2\r\n\r\n")
    for raw in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nA: \xe9\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nA: 2\r\n\r\n"):
        with pytest.raises(AttributeError):
            parse_head(raw, 64, 10)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", ""),
        (b"/a?", "/a", ""),
        (b"/a?b=c?d", "/a", "b=c?d"),
        (b"//a/../b", "//a/../b", ""),
        (b"/a%2Fb:c@d!$&'()*+,;=~", "/a%2Fb:c@d!$&'()*+,;=~", ""),
        (b'/"<>[]\\^`{|}', '/"<>[]\\^`{|}', ""),
    ],
)
def test_a_path_is_not_decoded(target: bytes, path: str, query: str) -> None:
    found = head(start=b"GET " + target + b" HTTP/1.1")
    assert (found.target, found.path, found.query) == (target.decode(), path, query)


def test_an_asterisk_is_for_options() -> None:
    assert head(start=b"OPTIONS * HTTP/1.1").target == "*"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "QUERY", "X"])
def test_any_method_in_capitals_passes(method: str) -> None:
    assert head(start=f"{method} / HTTP/1.1".encode()).method == method


def test_one_crlf_in_front_is_ignored() -> None:
    assert parse_head(b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 64, 10).path == "/"


def test_limits_are_reached_before_they_are_passed() -> None:
    assert len(head(start=b"GET /" + b"a" * 63 + b" HTTP/1.1").target) == 64
    assert len(head(*[b"A%d: b" % number for number in range(9)]).headers) == 10
    with pytest.raises(HttpError, match="64 bytes") as caught:
        head(start=b"GET /" + b"a" * 64 + b" HTTP/1.1")
    assert caught.value.status == 414
    with pytest.raises(HttpError, match="10 header fields") as caught:
        head(*[b"A%d: b" % number for number in range(10)])
    assert caught.value.status == 431


@pytest.mark.parametrize("host", [b"h", b"h:0", b"h:65535", b"a-b.c_d.~e:8080", b"127.0.0.1", b"[::1]", b"[::1]:80", b"[::ffff:1.2.3.4]", b"a" * 255])
def test_a_sane_host_passes(host: bytes) -> None:
    assert head(host=b"Host: " + host).headers[b"host"] == host


@pytest.mark.parametrize(("value", "length"), [(b"0", 0), (b"5", 5), (b" 5\t", 5), (b"999999999999999", 999_999_999_999_999)])
def test_a_length_is_digits(value: bytes, length: int) -> None:
    found = head(b"Content-Length:" + value)
    assert (found.length, found.chunked) == (length, False)


def test_no_length_and_no_coding_is_none() -> None:
    assert (head().length, head().chunked) == (None, False)


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"CHUNKED", b"\tchunked \t"])
def test_chunked_is_read_in_any_case(value: bytes) -> None:
    found = head(b"Transfer-Encoding:" + value)
    assert (found.length, found.chunked) == (None, True)


@pytest.mark.parametrize(
    ("connection", "new", "old"),
    [
        (None, True, False),
        (b"", True, False),
        (b"keep-alive", True, True),
        (b"Keep-Alive", True, True),
        (b"close", False, False),
        (b"CLOSE", False, False),
        (b"upgrade, Close", False, False),
        (b"keep-alive ,\tclose", False, False),
        (b"Upgrade, keep-alive", True, True),
        (b"closed", True, False),
        (b"close-x, x close", True, False),
    ],
)
def test_keep_alive_is_read_from_the_list(connection: bytes | None, new: bool, old: bool) -> None:
    fields = [] if connection is None else [b"Connection: " + connection]
    assert head(*fields).keep_alive == new
    assert head(*fields, start=b"GET / HTTP/1.0").keep_alive == old


def test_close_counts_in_a_second_field_too() -> None:
    assert not head(b"Connection: keep-alive", b"Connection: close").keep_alive


def test_upgrade_is_ignored() -> None:
    found = head(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
    assert (found.keep_alive, found.minor) == (True, 1)


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue", b"100-CONTINUE"])
def test_100_continue_is_expected_on_http_11_only(value: bytes) -> None:
    assert head(b"Expect: " + value).expects
    assert not head(b"Expect: " + value, start=b"POST / HTTP/1.0").expects


def test_http_10_needs_no_host() -> None:
    found = parse_head(b"GET / HTTP/1.0\r\n\r\n", 64, 10)
    assert (found.minor, found.headers) == (0, {})


def test_repeated_fields_are_joined_in_order() -> None:
    found = head(b"Accept: a", b"X: 1", b"ACCEPT: b", b"accept:")
    assert found.headers[b"accept"] == b"a, b, "
    assert list(found.headers) == [b"host", b"accept", b"x"]


def test_bytes_beyond_ascii_and_tabs_pass_in_values() -> None:
    assert head(b"A: \xe9\xa0\x85\xff", b"B: a\tb").headers == {b"host": b"h", b"a": b"\xe9\xa0\x85\xff", b"b": b"a\tb"}


def test_all_token_characters_pass_in_names() -> None:
    assert head(b"!#$%&'*+-.^_`|~09AZaz: x").headers[b"!#$%&'*+-.^_`|~09azaz"] == b"x"


def test_a_head_both_readers_differ_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_fields_of", lambda _event: {})
    with pytest.raises(HttpError, match="two ways"):
        head(b"A: \xe9")
    with pytest.raises(RemoteProtocolError, match="two ways"):
        parse_response_head(b"HTTP/1.1 200 OK\r\nA: \xe9\r\n\r\n")


def test_a_head_the_other_reader_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refuses:
        def __init__(self, role: object) -> None: ...

        def send(self, event: object) -> None: ...

        def receive_data(self, data: bytes) -> None:
            raise h11.RemoteProtocolError("no")

    monkeypatch.setattr(h11, "Connection", Refuses)
    with pytest.raises(HttpError, match="not lawful"):
        head(b"A: \xe9")
    with pytest.raises(RemoteProtocolError, match="not lawful"):
        parse_response_head(b"HTTP/1.1 200 OK\r\nA: \xe9\r\n\r\n")


def test_names_of_strangers_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_names", dict(gate._names))
    for number in range(3000):
        assert b"x-%d" % number in head(b"X-%d: a" % number).headers
    head(b"Y" * 49 + b": a")
    assert len(gate._names) == gate._NAMES_KEPT
    assert max(map(len, gate._names)) <= gate._NAME_BYTES_KEPT
    assert b"z-new" in head(b"Z-New: a").headers


@pytest.mark.parametrize(
    ("buffer", "start", "end"),
    [
        (b"", 0, -1),
        (b"GET / HTTP/1.1\r\n", 0, -1),
        (b"GET / HTTP/1.1\r\n\r\nrest", 0, 18),
        (b"GET / HTTP/1.1\r\n\r\n", 17, 18),
        (b"GET / HTTP/1.1\r\n\r\n", 15, 18),
        (b"a\r\n\r\nb\r\n\r\n", 0, 5),
        (b"a\n\nb", 0, 3),
        (b"a\r\n\nb", 0, 4),
        (b"a\n\r\nb", 0, 4),
        (b"\r\n\r\n" + b"x" * 9, 9, -1),
    ],
)
def test_find_head_gives_the_place_behind_the_empty_line(buffer: bytes, start: int, end: int) -> None:
    """The last row: what was searched is not searched again."""
    assert find_head(buffer, start) == end
    assert find_head(bytearray(buffer), start) == end


def test_find_head_finds_it_however_it_comes() -> None:
    raw = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    for size in range(1, 9):
        ends = [find_head(raw[: at + size], at) for at in range(0, len(raw), size)]
        assert ends[-1] == len(raw)
        assert set(ends[:-1]) <= {-1}


def test_a_head_of_lf_lines_is_found_and_refused_at_once() -> None:
    raw = b"GET / HTTP/1.1\nHost: h\n\n"
    assert find_head(raw) == len(raw)
    with pytest.raises(HttpError):
        parse_head(raw, 64, 10)


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", (200, {b"content-length": b"5"}, 5, False, True)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", (200, {b"transfer-encoding": b"Chunked"}, None, True, True)),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", (200, {b"content-length": b"0"}, 0, False, True)),
        (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", (200, {b"content-length": b"0"}, 0, False, True)),
        (b"HTTP/1.1 529 ganz \xfcberlastet\r\nContent-Length: 0\r\n\r\n", (529, {b"content-length": b"0"}, 0, False, True)),
        (b"HTTP/1.1 200 OK\r\n\r\n", (200, {}, None, False, False)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", (200, {b"content-length": b"1"}, 1, False, False)),
        (
            b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\n",
            (200, {b"content-length": b"1", b"connection": b"Keep-Alive"}, 1, False, True),
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: Close\r\n\r\n", (200, {b"content-length": b"1", b"connection": b"Close"}, 1, False, False)),
        (b"HTTP/1.1 100 Continue\r\n\r\n", (100, {}, 0, False, True)),
        (b"HTTP/1.1 103 Early Hints\r\nLink: a\r\nLink: b\r\n\r\n", (103, {b"link": b"a, b"}, 0, False, True)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, {}, 0, False, True)),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", (204, {b"content-length": b"0"}, 0, False, True)),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", (304, {b"content-length": b"99"}, 0, False, True)),
        (
            b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n",
            (429, {b"retry-after": b"1, 2", b"content-length": b"0"}, 0, False, True),
        ),
    ],
)
def test_a_lawful_answer_is_read(raw: bytes, read: tuple[int, dict[bytes, bytes], int | None, bool, bool]) -> None:
    assert parse_response_head(raw) == read
