"""The learned lane is an optimisation: with it and without it the same bytes mean the same."""

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dialects.chat.frames import DONE, LIMIT, call, chunk, decode, frame, text
from trioproxy.dialects.chat.decoder import ChatDecoder
from trioproxy.errors import RemoteProtocolError
from trioproxy.model.events import Event, TextDelta
from trioproxy.testing.strategies import chop, cuts, texts


def outcome(pieces: list[bytes], learn: bool) -> tuple[list[Event], str]:
    """The events of a stream up to its end or its first break, and what broke."""
    decoder = ChatDecoder(4096, learn=learn)
    events: list[Event] = []
    try:
        for piece in pieces:
            events += decoder.feed(piece)
        events += decoder.finish()
    except RemoteProtocolError as exc:
        return events, str(exc)
    return events, ""


ORDINARY = texts().map(text)
CHUNKS = st.one_of(
    ORDINARY,
    ORDINARY,
    ORDINARY,
    ORDINARY,
    texts().map(lambda content: b"data: " + orjson.dumps({"choices": [{"delta": {"content": content}}], "id": "c2"}) + b"\n\n"),
    texts().map(lambda content: chunk({"reasoning_content": content})),
    texts().map(lambda content: chunk({"content": content}, service_tier="flex")),
    st.sampled_from(
        [
            text(""),
            chunk(call(0, id="x", name="f", arguments="{}")),
            chunk({}, "stop"),
            chunk({"content": "a"}, "length"),
            chunk({"content": "a"}, usage={"prompt_tokens": 1, "completion_tokens": 2}),
            frame({"error": "e"}),
            b": ping\n\n",
            b"\n",
            b"\r\n",
            DONE,
            b"data: {broken\n\n",
            text("a").replace(b'"a"', b'"\xff"'),
            text("a").replace(b'"a"', b'"\xed\xa0\x80"'),
            text("a").replace(b"\n\n", b"\r\n\r\n"),
            text("a").replace(b'"a"', b'"a","content":"b"'),
            text("a").replace(b'"a"', b'"a\nb"'),
            text("a").replace(b'"a"', b'"a\n"'),
            b"event: error\n" + text("a"),
        ]
    ),
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(chunks=st.lists(CHUNKS, max_size=12), places=cuts())
def test_both_lanes_agree_under_every_cut(chunks: list[bytes], places: list[float]) -> None:
    pieces = chop(text("first") + b"".join(chunks), places)
    assert outcome(pieces, True) == outcome(pieces, False)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(chunks=st.lists(CHUNKS, max_size=12))
def test_both_lanes_agree_frame_by_frame(chunks: list[bytes]) -> None:
    pieces = [text("first"), *chunks]
    assert outcome(pieces, True) == outcome(pieces, False)


@given(contents=st.lists(st.text(st.characters(codec="utf-8", min_codepoint=0x20, exclude_characters='"\\'), max_size=5), min_size=1, max_size=8))
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_a_run_in_one_feed_is_told_apart(contents: list[str]) -> None:
    decoder = ChatDecoder(LIMIT)
    decoder.feed(text("first"))
    assert decoder.feed(b"".join(map(text, contents))) == [TextDelta(0, content) for content in contents if content]


class Counting(ChatDecoder):
    """Counts the frames that were parsed."""

    __slots__ = ("parsed",)

    def __init__(self) -> None:
        super().__init__(LIMIT)
        self.parsed = 0

    def _frame(self, name: bytes, payload: bytes, out: list[Event]) -> None:
        self.parsed += 1
        super()._frame(name, payload, out)


DELTAS: list[dict[str, Any]] = [{"content": "a"}, {"content": "a", "reasoning_content": None, "tool_calls": None}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("more", [{}, {"usage": None}, {"service_tier": "default", "system_fingerprint": "fp"}])
def test_ordinary_chunks_are_learned(delta: dict[str, Any], more: dict[str, Any]) -> None:
    decoder = Counting()
    for _ in range(10):
        decoder.feed(chunk(delta, **more))
    assert decoder.parsed == 2, "the first opens the message, the second teaches"


def test_spaced_json_is_learned() -> None:
    decoder = Counting()
    for _ in range(10):
        decoder.feed(text("a").replace(b'":', b'": '))
    assert decoder.parsed == 2


def test_a_stream_that_never_repeats_itself_is_not_studied_for_ever() -> None:
    decoder = Counting()
    for number in range(10):
        decoder.feed(chunk({"content": "a"}, obfuscation="x" * number))
    assert decoder.parsed == 10
    assert decoder._learn == 0


@pytest.mark.parametrize(
    "twist", [b'"content":"a","role":"assistant","x":{"content":"a"}', b'"content":"a","content":"a"', rb'"content":"a","conten\u0074":"a"']
)
def test_text_in_two_places_is_not_learned(twist: bytes) -> None:
    decoder = Counting()
    twisted = text("a").replace(b'"content":"a"', twist)
    for _ in range(6):
        decoder.feed(twisted)
    assert decoder._head == b""
    assert decode(twisted, twisted) == decode(twisted, twisted, learn=False)
