"""The laws of the dialect, over generated answers: round trips, cuts, and the equality of stream and plain answer."""

from __future__ import annotations

import json

from hypothesis import given, settings

from tests.dialects.responses.rig import SETTING, complain, decode, docs, normal
from trioproxy.dialects.responses import RESPONSES
from trioproxy.model.events import Annotated, Event, RefusalDelta, TextDelta
from trioproxy.model.fold import fold
from trioproxy.model.grammar import complaints
from trioproxy.testing.strategies import answers, chop, cuts
from trioproxy.testing.walker import check_response

EXAMPLES = settings(max_examples=120, deadline=None)


@EXAMPLES
@given(answers())
def test_every_stream_satisfies_every_checker(events: list[Event]) -> None:
    complain(RESPONSES.Encoder(SETTING).encode(events))


@EXAMPLES
@given(answers())
def test_what_was_encoded_is_decoded(events: list[Event]) -> None:
    decoded = decode(RESPONSES.Encoder(SETTING).encode(events))
    assert decoded == normal(events)
    assert complaints(decoded) == []


@EXAMPLES
@given(answers(), cuts())
def test_cuts_change_nothing(events: list[Event], places: list[float]) -> None:
    raw = RESPONSES.Encoder(SETTING).encode(events)
    assert decode(*chop(raw, places)) == decode(raw)


@EXAMPLES
@given(answers())
def test_batches_change_nothing(events: list[Event]) -> None:
    encoder = RESPONSES.Encoder(SETTING)
    assert b"".join(encoder.encode([event]) for event in events) == RESPONSES.Encoder(SETTING).encode(events)


@EXAMPLES
@given(answers())
def test_the_plain_answer_is_the_response_of_the_terminal_event(events: list[Event]) -> None:
    events = _tidy(events)
    raw = RESPONSES.Encoder(SETTING).encode(events)
    body = RESPONSES.write_response(fold(events), SETTING)
    terminal = raw.removesuffix(b"data: [DONE]\n\n").rsplit(b"\ndata: ", 1)[1]
    assert terminal.split(b',"response":', 1)[1] == body + b"}\n\n"
    assert check_response(json.loads(body)) == []


@EXAMPLES
@given(answers())
def test_a_plain_answer_reads_as_its_stream_does(events: list[Event]) -> None:
    events = _tidy(events)
    raw = RESPONSES.Encoder(SETTING).encode(events)
    read = RESPONSES.read_response(json.dumps(docs(raw)[-1]["response"]).encode(), frozenset())
    assert complaints(read) == []
    folded, streamed = fold(read), fold(decode(raw))
    assert folded.items == streamed.items
    assert folded.finish == streamed.finish
    assert (folded.fault is None) is (streamed.fault is None)


def _tidy(events: list[Event]) -> list[Event]:
    """Messages in which text and refusal do not alternate: the folded form knows one text and one refusal, in this order."""
    out: list[Event] = []
    refused: set[int] = set()
    for event in events:
        if isinstance(event, RefusalDelta):
            refused.add(event.index)
        if not (isinstance(event, TextDelta | Annotated) and event.index in refused):
            out.append(event)
    return out
