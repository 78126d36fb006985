"""Streams and answers of a real llama.cpp server, and the events they are."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.dialects.chat.frames import LIMIT, decode, setting
from trioproxy.dialects.chat import CHAT
from trioproxy.dialects.chat.encoder import ChatEncoder
from trioproxy.model.fold import fold
from trioproxy.model.grammar import complaints
from trioproxy.testing.strategies import chop, cuts

DATA = Path(__file__).parents[2] / "data" / "chat"
STREAMS = sorted(DATA.glob("*.sse"))
ANSWERS = sorted(DATA.glob("*.json"))


def lines(events: list[object]) -> list[str]:
    return [repr(event) for event in events]


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_stream_is_its_golden_events(path: Path) -> None:
    events = decode(path.read_bytes())
    assert lines(list(events)) == path.with_suffix(".events").read_text("utf-8").splitlines()
    assert complaints(events) == []


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.stem)
def test_answer_is_its_golden_events(path: Path) -> None:
    events = CHAT.read_response(path.read_bytes(), frozenset())
    assert lines(list(events)) == path.with_suffix(".events").read_text("utf-8").splitlines()
    assert complaints(events) == []


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(places=cuts())
def test_stream_means_the_same_however_it_is_cut(path: Path, places: list[float]) -> None:
    data = path.read_bytes()
    assert decode(*chop(data, places)) == decode(data)


def test_stream_means_the_same_byte_by_byte() -> None:
    data = (DATA / "llama_tool_parallel_stream.sse").read_bytes()
    assert decode(*(data[place : place + 1] for place in range(len(data)))) == decode(data)


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
def test_newlines_make_no_difference(path: Path, newline: bytes) -> None:
    data = path.read_bytes()
    assert decode(data.replace(b"\n", newline)) == decode(data)


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_stream_survives_our_own_encoder(path: Path) -> None:
    events = decode(path.read_bytes())
    again = fold(decode(ChatEncoder(setting(stream_options={"include_usage": True})).encode(events)))
    whole = fold(events)
    assert (again.items, again.finish) == (whole.items, whole.finish)
    assert whole.usage is None or again.usage == whole.usage


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_scanner_sees_what_the_decoder_sees(path: Path) -> None:
    """Spoken, ended and usage, fed in one piece and frame by frame."""
    data = path.read_bytes()
    whole = fold(decode(data))
    for batches in ([data], [each + b"\n\n" for each in data.split(b"\n\n") if each]):
        scanner = CHAT.Scanner(LIMIT)
        for batch in batches:
            scanner.feed(batch)
        assert scanner.finish() == b""
        assert (scanner.ended, scanner.spoken, scanner.fault, scanner.usage) == (True, True, None, whole.usage)
