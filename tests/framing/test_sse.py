"""Frames and Cutter: the same events for any partition of the bytes, in every newline convention, at a cost that grows with the bytes alone."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.framing.work import Counted, counting
from trioproxy.errors import RemoteProtocolError
from trioproxy.framing import sse
from trioproxy.framing.sse import Cutter, Event, Frames
from trioproxy.testing.strategies import chop, cuts

BIG = 1 << 20
BOM = b"\xef\xbb\xbf"
PARTS = (
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"data: x", b"data:y", b"data:  z", b"data", b"event: e", b"event:f\n", b": note", b":", b"id: 3\n"),
    *(
        b"retry: 10",
        b"unknown: 1\n",
        b"data: a\n\n",
        b"event: e\ndata: a\n\n",
        BOM,
        b"a",
        "\u2028\u2029\u0085".encode(),
        b"\x0b\x0c\x1c\x1d\x1e",
        b"\x00",
        b" ",
    ),
)
streams = st.lists(st.sampled_from(PARTS), max_size=24).map(b"".join)


def read(pieces: list[bytes], limit: int = BIG) -> list[Event]:
    frames = Frames(limit)
    events = [event for piece in pieces for event in frames.feed(piece)]
    return events + frames.finish()


def by_the_book(text: bytes) -> list[Event]:
    """The standard's algorithm, line by line, and the unfinished event at the end too."""
    events: list[Event] = []
    name = b""
    data: list[bytes] = []
    for line in [*re.split(rb"\r\n|\n|\r", text.removeprefix(BOM)), b""]:
        field, _, value = line.partition(b":")
        if not line:
            if data:
                events.append((name, b"\n".join(data)))
            name, data = b"", []
        elif field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return events


CASES: list[tuple[str, bytes, list[Event]]] = [
    ("LF", b"data: a\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
    ("CRLF", b"data: a\r\n\r\ndata: b\r\n\r\n", [(b"", b"a"), (b"", b"b")]),
    ("CR", b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")]),
    ("mixed", b"event: e\rdata: a\r\n\ndata: b\n\r\ndata: c\r\r\n", [(b"e", b"a"), (b"", b"b"), (b"", b"c")]),
    ("event and data", b"event: e\ndata: a\n\nevent: f\ndata: b\n\n", [(b"e", b"a"), (b"f", b"b")]),
    ("data before event", b"data: a\nevent: e\n\n", [(b"e", b"a")]),
    ("several data lines", b"data: a\ndata: b\ndata\ndata:c\n\n", [(b"", b"a\nb\n\nc")]),
    ("no blank after the colon", b"event:e\ndata:a\n\n", [(b"e", b"a")]),
    ("one blank only is cut", b"data:  a \n\n", [(b"", b" a ")]),
    ("a value without blank, a batch", b"data:a\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
    ("no data", b"event: ping\n\ndata: a\n\n", [(b"", b"a")]),
    ("empty data", b"data\n\ndata:\n\ndata: \n\n", [(b"", b"")] * 3),
    ("a name is not kept for the next event", b"event: e\n\ndata: a\n\n", [(b"", b"a")]),
    ("the last name counts", b"event: e\nevent: f\ndata: a\n\n", [(b"f", b"a")]),
    ("comments", b": hello\n\n:\n\n: x\ndata: a\n: y\n\n", [(b"", b"a")]),
    ("comment between usual events", b"data: a\n\n: keep-alive\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
    ("id, retry, unknown", b"id: 1\nretry: 5\nfoo: bar\nfoo\ndata: a\n\n", [(b"", b"a")]),
    ("two lines that look like two events", b"event: e\ndata: a\n\ndata: b\ndata: c\n\n", [(b"e", b"a"), (b"", b"b\nc")]),
    ("a field that only begins like data", b"database: a\ndata: b\n\n", [(b"", b"b")]),
    ("fields are case-sensitive", b"Data: a\ndata: b\n\n", [(b"", b"b")]),
    ("a blank before the field", b" data: a\ndata: b\n\n", [(b"", b"b")]),
    ("byte order mark", BOM + b"data: a\n\n", [(b"", b"a")]),
    ("byte order mark and CRLF", BOM + b"data: a\r\n\r\n", [(b"", b"a")]),
    ("one mark is cut, not two", BOM + BOM + b"data: a\n\ndata: b\n\n", [(b"", b"b")]),
    ("a mark later is text", b"data: a\n\n" + BOM + b"data: b\n\n", [(b"", b"a")]),
    ("a mark behind a blank line is text", b"\n\n" + BOM + b"data: b\n\n", []),
    ("separators of Unicode stay", "data: a\u2028b\u2029c\u0085d\n\n".encode(), [(b"", "a\u2028b\u2029c\u0085d".encode())]),
    ("separators of ASCII stay", b"data: a\x0bb\x0cc\x1cd\x1de\x1e\n\n", [(b"", b"a\x0bb\x0cc\x1cd\x1de\x1e")]),
    ("blank lines before and between", b"\n\r\n\r\rdata: a\n\n\n\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
    ("the end without a blank line", b"data: a\n\ndata: b\n", [(b"", b"a"), (b"", b"b")]),
    ("the end without a newline", b"event: e\ndata: b", [(b"e", b"b")]),
    ("the end without data", b"data: a\n\nevent: e\n", [(b"", b"a")]),
    ("nothing", b"", []),
]


@pytest.mark.parametrize(("text", "events"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_frames_reads_each_convention_whole_and_bytewise(text: bytes, events: list[Event]) -> None:
    assert by_the_book(text) == events
    assert read([text]) == events
    assert read([text[at : at + 1] for at in range(len(text))]) == events


@given(streams, cuts())
def test_frames_gives_the_same_events_for_any_partition(text: bytes, places: list[float]) -> None:
    assert read(chop(text, places)) == by_the_book(text)


@given(st.lists(st.tuples(st.sampled_from([b"", b"e", b"ping"]), st.binary(max_size=9).filter(lambda data: not {10, 13} & set(data)))), cuts())
def test_frames_gives_back_what_was_rendered(events: list[Event], places: list[float]) -> None:
    text = b"".join((b"event: %b\n" % name if name else b"") + b"data: %b\n\n" % data for name, data in events)
    assert read(chop(text, places)) == events


@pytest.mark.parametrize(("first", "second"), [(b"data: a\r", b"\ndata: b\r\n\r\n"), (b"data: a\r\n\r", b"\ndata: b\r\n\r\n")])
def test_lf_behind_a_cr_of_the_feed_before_is_no_blank_line(first: bytes, second: bytes) -> None:
    assert read([first, second]) == by_the_book(first + second)
    assert read([first, b"", second]) == by_the_book(first + second)


def test_an_event_is_given_at_its_blank_line_not_later() -> None:
    for end in (b"\n\n", b"\r\n\r", b"\r\r"):
        frames = Frames(BIG)
        assert frames.feed(b"data: a" + end) == [(b"", b"a")]
        assert not frames.pending
    assert frames.feed(b"data: b") == []
    assert frames.pending


def test_finish_ends_only_once() -> None:
    frames = Frames(BIG)
    frames.feed(b"data: a\n")
    assert frames.finish() == [(b"", b"a")]
    assert frames.finish() == []


def test_half_a_mark_is_no_event() -> None:
    assert read([BOM[:2]]) == read([BOM]) == []


LIMIT = 20


@pytest.mark.parametrize("text", [b"data: " + b"x" * 15 + b"\n\n", b"data: x\n: 34567890123\n\n", b"data: " + b"x" * 15, b"data: " + b"x" * 15 + b"\r\n\r\n"])
def test_frames_refuses_one_byte_more_than_the_limit(text: bytes) -> None:
    exact = text.replace(b"x", b"", 1)
    for size in (1, 2, 7, 100):
        assert read([exact[at : at + size] for at in range(0, len(exact), size)], LIMIT)
        with pytest.raises(RemoteProtocolError, match="longer than 20 bytes"):
            read([text[at : at + size] for at in range(0, len(text), size)], LIMIT)


def test_the_limit_is_for_one_event_not_for_a_feed() -> None:
    assert len(read([b"data: x\n\n" * 50], LIMIT)) == 50
    assert len(read([b"\n" * 100 + b"data: 0123456789abcd\n\n"], LIMIT)) == 1


@pytest.mark.parametrize("line", [b"data: ", b"x", b": "])
def test_an_endless_line_is_refused_at_the_limit(line: bytes) -> None:
    assert Frames(1000).feed(line + b"x" * 900) == []
    with pytest.raises(RemoteProtocolError):
        read([line, *[b"x" * 100] * 11], 1000)


KIB = 1024
HOSTILE = {
    "an endless line": (b"x" * 256 * KIB, 64),
    "a long event in small pieces": (b"data: " + b"x" * 256 * KIB + b"\n\n", 64),
    "an event of short lines": (b"data: 1\n" * 16 * KIB, 48),
    "a million blank lines": (b"\n" * 1_000_000, 4096),
    "a million blank lines, CRLF": (b"\r\n" * 500_000, 4095),
    "blank lines one by one": (b"\n" * 16 * KIB, 1),
    "many comments": (b": 1\n\n" * 64 * KIB, 1000),
    "comments without end": (b": 1\n" * 16 * KIB, 100),
    "CR and LF by turns": (b"\n\r\r" * 32 * KIB, 5),
    "text and CRLF": (b"data: x\r\n\r\n" * 16 * KIB, 7),
    "events one byte at a time": (b"data: x\n\n" * KIB, 1),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("machine", [Frames, Cutter])
def test_work_grows_with_the_bytes_alone(name: str, machine: type[Frames] | type[Cutter], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte may be searched or copied a small number of times, however the stream is cut; quadratic work would be thousands of times as much."""
    text, size = HOSTILE[name]
    with counting(sse, monkeypatch) as work:
        reader = machine(2 * BIG)
        for at in range(0, len(text), size):
            reader.feed(Counted(text[at : at + size]))
    assert work.bytes <= 16 * len(text)
    assert machine is Cutter or work.bytes >= len(text), "nothing was counted"


def boundary(text: bytes) -> bool:
    """Whether `text` ends where no event is open."""
    frames = Frames(BIG)
    frames.feed(text)
    return not frames.pending


@given(streams, cuts())
def test_cutter_gives_whole_events_and_changes_nothing(text: bytes, places: list[float]) -> None:
    cutter = Cutter(BIG)
    out = b""
    for piece in chop(text, places):
        out += cutter.feed(piece)
        assert boundary(out)
        assert cutter.settled == (not cutter.rest)
    assert out + cutter.rest == text


@given(streams, cuts())
def test_cutter_gives_the_longest_prefix_that_is_whole(text: bytes, places: list[float]) -> None:
    """No later cut would do: what is kept has no blank line in it."""
    cutter = Cutter(BIG)
    for piece in chop(text, places):
        cutter.feed(piece)
        lines = re.split(rb"\r\n|\n|\r", cutter.rest)
        assert not cutter.rest or b"" not in lines[:-1]


@pytest.mark.parametrize(
    ("pieces", "outs"),
    [
        ([b"data: a\n\n"], [b"data: a\n\n"]),
        ([b"data: a\n\ndata"], [b"data: a\n\n"]),
        ([b"data: a\n", b"\n"], [b"", b"data: a\n\n"]),
        ([b"data: a\r", b"\n\r\n"], [b"", b"data: a\r\n\r\n"]),
        ([b"data: a\r\n\r", b"\ndata: b"], [b"data: a\r\n\r", b"\n"]),
        ([b"data: a\r\n\r\ndata: b\r\n"], [b"data: a\r\n\r\n"]),
        ([b"data: a\r\rb"], [b"data: a\r\r"]),
        ([b"\n", b"\r\n", b"x"], [b"\n", b"\r\n", b""]),
        ([b""], [b""]),
    ],
)
def test_cutter_cuts_behind_the_last_blank_line(pieces: list[bytes], outs: list[bytes]) -> None:
    cutter = Cutter(BIG)
    assert [cutter.feed(piece) for piece in pieces] == outs


def test_something_put_in_at_a_cut_tears_no_event() -> None:
    text = b"event: e\r\ndata: a\r\n\r\ndata: b\n\ndata: c\r\r"
    for at in range(len(text)):
        cutter = Cutter(BIG)
        out = cutter.feed(text[:at])
        beat = b": beat\n\n" if cutter.settled else b""
        assert read([out + beat + cutter.feed(text[at:]) + cutter.rest]) == by_the_book(text)


def test_cutter_refuses_to_keep_more_than_the_limit() -> None:
    cutter = Cutter(LIMIT)
    assert cutter.feed(b"data: x\n\n" * 9) == b"data: x\n\n" * 9
    assert cutter.feed(b"x" * LIMIT) == b""
    with pytest.raises(RemoteProtocolError, match="longer than 20 bytes"):
        cutter.feed(b"x")
    with pytest.raises(RemoteProtocolError):
        Cutter(LIMIT).feed(b"data: x\n\n" + b"x" * (LIMIT + 1))
