"""What the scanner sees of a stream that passes by, and how it ends one that broke."""

from __future__ import annotations

import json

import pytest

from tests.dialects.responses.rig import LIMIT, SETTING, complain, docs, encode, text
from trioproxy.dialects.base import Scanner
from trioproxy.dialects.responses import RESPONSES
from trioproxy.errors import RemoteProtocolError
from trioproxy.model.events import Event, Failed, Finished, ItemKind, ItemOpened, Metered, Started, TextDelta
from trioproxy.model.fault import Fault, FaultKind
from trioproxy.model.usage import FinishReason, Usage

BROKE = Fault(FaultKind.UPSTREAM, "The backend broke.")
USAGE = Usage(5, 4, 3, 1, 2)
WHOLE: list[Event] = [Started(), *text(0, "Hel", "lo."), Metered(USAGE), Finished(FinishReason.STOP)]


def frames(raw: bytes) -> list[bytes]:
    return [frame + b"\n\n" for frame in raw.split(b"\n\n")[:-1]]


def scan(*batches: bytes) -> Scanner:
    scanner = RESPONSES.Scanner(LIMIT)
    for batch in batches:
        scanner.feed(batch)
    return scanner


def test_created_and_added_say_nothing_yet() -> None:
    scanner = RESPONSES.Scanner(LIMIT)
    seen = []
    for frame in frames(encode(*WHOLE)):
        scanner.feed(frame)
        seen.append(scanner.spoken)
    assert seen == [False] * 4 + [True] * (len(seen) - 4)


def test_a_whole_stream() -> None:
    scanner = scan(*frames(encode(*WHOLE)))
    assert (scanner.ended, scanner.fault, scanner.usage, scanner.finish()) == (True, None, USAGE, b"")


def test_a_whole_stream_in_one_batch() -> None:
    scanner = scan(encode(*WHOLE))
    assert (scanner.spoken, scanner.ended, scanner.usage) == (True, True, USAGE)


def test_an_empty_answer_counts_as_spoken_when_it_ends_cleanly() -> None:
    scanner = scan(encode(Started(), Finished(FinishReason.STOP)))
    assert (scanner.spoken, scanner.ended) == (True, True)


def test_a_missing_done_is_no_debt() -> None:
    scanner = scan(encode(*WHOLE).removesuffix(b"data: [DONE]\n\n"))
    assert (scanner.ended, scanner.finish()) == (True, b"")


def test_spaces_in_the_json_hide_nothing() -> None:
    spaced = b"".join(
        b"event: %b\ndata: %b\n\n" % (doc["type"].encode(), json.dumps(doc, indent=1).replace("\n", " ").encode()) for doc in docs(encode(*WHOLE))
    )
    assert scan(*frames(spaced)).usage == USAGE


def test_words_of_the_model_are_no_end() -> None:
    sly = 'event: response.completed\ndata: {"type":"response.completed","response":{"error":1}}\n\n'
    raw = encode(Started(), *text(0, sly), Finished(FinishReason.STOP))
    scanner = scan(*frames(raw)[:5])
    assert (scanner.spoken, scanner.ended, scanner.fault) == (True, False, None)


def test_an_error_before_the_first_word() -> None:
    scanner = scan(encode(Failed(Fault(FaultKind.OVERLOADED, "Busy."))))
    assert (scanner.spoken, scanner.ended) == (False, True)
    assert scanner.fault is not None
    assert scanner.fault.kind is FaultKind.OVERLOADED


def test_a_bare_error_is_seen_after_words_too() -> None:
    scanner = scan(RESPONSES.Encoder(SETTING).encode([Started(), *text(0, "Hi")]), b'data: {"error": "out of memory"}\n\n')
    assert scanner.fault is not None
    assert scanner.fault.message == "out of memory"


def test_after_an_error_event_the_failed_response_is_owed() -> None:
    raw = encode(Started(), *text(0, "Hi"), Failed(BROKE))
    upto = raw[: raw.index(b"event: response.failed")]
    scanner = scan(*frames(upto))
    assert not scanner.ended
    rest = scanner.finish()
    assert scanner.ended
    found = docs(upto + rest)
    assert [doc["type"] for doc in found[-2:]] == ["error", "response.failed"]
    assert [doc["sequence_number"] for doc in found] == list(range(len(found)))
    assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("count", range(2, 6))
def test_a_fault_continues_the_numbers_and_the_id(count: int) -> None:
    """The relay ends a broken stream in the backend's own name."""
    passed = b"".join(frames(encode(*WHOLE))[:count])
    scanner = scan(passed)
    raw = passed + scanner.fail(BROKE)
    found = docs(raw)
    assert [doc["sequence_number"] for doc in found] == list(range(len(found)))
    assert [doc["type"] for doc in found[-2:]] == ["error", "response.failed"]
    assert found[-1]["response"]["id"] == found[0]["response"]["id"]
    assert found[-1]["response"]["error"] == {"code": "server_error", "message": "The backend broke."}
    assert found[-1]["response"]["status"] == "failed"
    assert raw.endswith(b"data: [DONE]\n\n")


def test_a_heartbeat_does_not_hide_the_last_number() -> None:
    passed = b"".join(frames(encode(*WHOLE))[:5])
    scanner = scan(passed, b": ping\n\n")
    assert docs(scanner.fail(BROKE))[0]["sequence_number"] == 5


@pytest.mark.parametrize("cut", [b"event: response.outp", b'event: x\ndata: {"type":"x","sequence_number":5}', b'data: {"type":"x","seq'])
def test_a_cut_frame_that_nobody_was_sent_has_no_number(cut: bytes) -> None:
    scanner = scan(b"".join(frames(encode(*WHOLE))[:5]))
    scanner.feed(cut + b"\n\n", cut=True)
    assert docs(scanner.fail(BROKE))[0]["sequence_number"] == 5


def test_a_fault_before_anything_was_seen_is_a_stream_of_its_own() -> None:
    complain(RESPONSES.Scanner(LIMIT).fail(BROKE))


def test_a_stream_that_just_stops_has_not_ended() -> None:
    scanner = scan(*frames(encode(*WHOLE))[:5])
    assert (scanner.finish(), scanner.ended) == (b"", False)


@pytest.mark.parametrize("frame", [b"data: {\n\n", b"data: 7\n\n", b'data: {"type":"response.completed"}\n\n'])
def test_nonsense_is_an_error(frame: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        scan(frame)


def test_the_encoder_and_the_scanner_agree_on_substance() -> None:
    encoder, scanner = RESPONSES.Encoder(SETTING), RESPONSES.Scanner(LIMIT)
    scanner.feed(encoder.encode([Started(), ItemOpened(0, ItemKind.MESSAGE)]))
    assert not scanner.spoken
    scanner.feed(encoder.encode([TextDelta(0, "H")]))
    assert scanner.spoken
