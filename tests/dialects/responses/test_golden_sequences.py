"""The order of events for every kind of answer, spelt out. Thought comes in two forms, as a summary and raw, and both are held to it."""

from __future__ import annotations

import json

import pytest

from tests.dialects.responses.rig import ID, SETTING, docs, encode, refusal, short, text, thought
from trioproxy.dialects.responses import RESPONSES
from trioproxy.model.events import (
    ArgumentsDelta,
    Event,
    Failed,
    Finished,
    ItemClosed,
    ItemKind,
    ItemOpened,
    Metered,
    Started,
    TextDelta,
    ThoughtDelta,
)
from trioproxy.model.fault import Fault, FaultKind
from trioproxy.model.usage import FinishReason, Usage

STARTED = Started("chatcmpl-1", "real-model", 1795336110)
STOP = Finished(FinishReason.STOP)
CALLS = Finished(FinishReason.TOOL_CALLS)
DIED = Failed(Fault(FaultKind.UPSTREAM, "The backend closed the connection."))
FORMS = pytest.mark.parametrize("summary", [True, False], ids=["summary", "raw"])


def call(index: int, *pieces: str) -> list[Event]:
    opened = ItemOpened(index, ItemKind.FUNCTION, f"call_{index}", "add")
    return [opened, *(ArgumentsDelta(index, piece) for piece in pieces), ItemClosed(index)]


def inner(place: int, summary: bool, deltas: int = 1) -> str:
    """The inside of a reasoning item."""
    start, delta, *ends = ("SA", "SD", "SDN", "SPN") if summary else ("CA", "RTD", "RTDN", "CDN")
    return " ".join(f"{word}{place}" for word in (start, *[delta] * deltas, *ends))


def test_plain_text() -> None:
    raw = encode(STARTED, *text(0, "Hel", "lo."), STOP)
    assert short(raw) == "RC RP IA0 CA0 TD0 TD0 TDN0 CDN0 IDN0 completed [DONE]"


@FORMS
def test_reasoning_then_text(summary: bool) -> None:
    raw = encode(STARTED, *thought(0, "Hm", "m.", summary=summary), *text(1, "Hi."), STOP)
    assert short(raw) == f"RC RP IA0 {inner(0, summary, 2)} IDN0 IA1 CA1 TD1 TDN1 CDN1 IDN1 completed [DONE]"


def test_two_parallel_tools_whose_argument_chunks_arrive_interleaved() -> None:
    raw = encode(
        STARTED,
        ItemOpened(0, ItemKind.FUNCTION, "call_a", "add"),
        ArgumentsDelta(0, '{"a"'),
        ItemOpened(1, ItemKind.FUNCTION, "call_b", "sub"),
        ArgumentsDelta(1, '{"b"'),
        ArgumentsDelta(0, ":1}"),
        ArgumentsDelta(1, ":2}"),
        ItemClosed(0),
        ItemClosed(1),
        CALLS,
    )
    assert short(raw) == "RC RP IA0 AD0 AD0 ADN0 IDN0 IA1 AD1 AD1 ADN1 IDN1 completed [DONE]"
    assert [item["arguments"] for item in docs(raw)[-1]["response"]["output"]] == ['{"a":1}', '{"b":2}']


def test_the_chunks_of_the_second_tool_wait_for_the_end_of_the_first() -> None:
    encoder = RESPONSES.Encoder(SETTING)
    encoder.encode([STARTED, ItemOpened(0, ItemKind.FUNCTION, "call_a", "add")])
    assert encoder.encode([ItemOpened(1, ItemKind.FUNCTION, "call_b", "sub"), ArgumentsDelta(1, "{}")]) == b""
    assert short(encoder.encode([ArgumentsDelta(0, "{}")])) == "AD0"
    assert short(encoder.encode([ItemClosed(0)])) == "ADN0 IDN0 IA1 AD1"
    assert short(encoder.encode([ArgumentsDelta(1, " ")])) == "AD1"


def test_text_tool_text_again() -> None:
    raw = encode(STARTED, *text(0, "Let me."), *call(1, "{}"), *text(2, "Done."), STOP)
    assert short(raw) == "RC RP IA0 CA0 TD0 TDN0 CDN0 IDN0 IA1 AD1 ADN1 IDN1 IA2 CA2 TD2 TDN2 CDN2 IDN2 completed [DONE]"
    first, _, second = (item["id"] for item in docs(raw)[-1]["response"]["output"])
    assert first != second


@FORMS
def test_reasoning_resumes_after_tool(summary: bool) -> None:
    raw = encode(STARTED, *thought(0, "Hm.", summary=summary), *call(1, "{}"), *thought(2, "So.", summary=summary), STOP)
    assert short(raw) == f"RC RP IA0 {inner(0, summary)} IDN0 IA1 AD1 ADN1 IDN1 IA2 {inner(2, summary)} IDN2 completed [DONE]"
    first, _, second = (item["id"] for item in docs(raw)[-1]["response"]["output"])
    assert first != second


@FORMS
def test_reasoning_only(summary: bool) -> None:
    raw = encode(STARTED, *thought(0, "Hm.", summary=summary), STOP)
    assert short(raw) == f"RC RP IA0 {inner(0, summary)} IDN0 completed [DONE]"
    assert [item["type"] for item in docs(raw)[-1]["response"]["output"]] == ["reasoning"]


def test_empty_completion() -> None:
    raw = encode(STARTED, STOP)
    assert short(raw) == "RC RP completed [DONE]"
    assert docs(raw)[-1]["response"]["output"] == []


@pytest.mark.parametrize(("reason", "word"), [(FinishReason.LENGTH, "max_output_tokens"), (FinishReason.CONTENT_FILTER, "content_filter")])
def test_length_and_content_filter(reason: FinishReason, word: str) -> None:
    """Only the last item is incomplete."""
    raw = encode(STARTED, *text(0, "One."), *text(1, "Tw"), Finished(reason))
    assert short(raw) == "RC RP IA0 CA0 TD0 TDN0 CDN0 IDN0 IA1 CA1 TD1 TDN1 CDN1 IDN1 incomplete [DONE]"
    response = docs(raw)[-1]["response"]
    assert response["incomplete_details"] == {"reason": word}
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


def test_refusal() -> None:
    raw = encode(STARTED, *refusal(0, "I ", "won't."), STOP)
    assert short(raw) == "RC RP IA0 CA0 RFD0 RFD0 RFDN0 CDN0 IDN0 completed [DONE]"
    assert docs(raw)[3]["part"] == {"type": "refusal", "refusal": ""}


def test_upstream_dies_after_substance() -> None:
    raw = encode(STARTED, *text(0, "One."), ItemOpened(1, ItemKind.MESSAGE), TextDelta(1, "Tw"), DIED)
    assert short(raw) == "RC RP IA0 CA0 TD0 TDN0 CDN0 IDN0 IA1 CA1 TD1 TDN1 CDN1 IDN1 error failed [DONE]"
    error, failed = docs(raw)[-2:]
    assert (error["code"], error["message"], error["param"]) == ("server_error", "The backend closed the connection.", None)
    assert error["error"] == {"type": "server_error", "code": "server_error", "message": "The backend closed the connection.", "param": None}
    response = failed["response"]
    assert response["id"] == "resp_" + ID
    assert response["error"] == {"code": "server_error", "message": "The backend closed the connection."}
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


@FORMS
def test_upstream_dies_in_thought(summary: bool) -> None:
    raw = encode(STARTED, ItemOpened(0, ItemKind.REASONING), ThoughtDelta(0, "Hm", summary), DIED)
    assert short(raw) == f"RC RP IA0 {inner(0, summary)} IDN0 error failed [DONE]"


def test_upstream_dies_among_parallel_tools() -> None:
    raw = encode(
        STARTED,
        ItemOpened(0, ItemKind.FUNCTION, "call_a", "add"),
        ItemOpened(1, ItemKind.FUNCTION, "call_b", "sub"),
        ArgumentsDelta(1, "{"),
        DIED,
    )
    assert short(raw) == "RC RP IA0 ADN0 IDN0 IA1 AD1 ADN1 IDN1 error failed [DONE]"
    assert [item["status"] for item in docs(raw)[-1]["response"]["output"]] == ["incomplete", "incomplete"]


def test_upstream_dies_before_substance_and_nothing_was_sent() -> None:
    """Then the answer is plain HTTP."""
    status, body = RESPONSES.write_fault(Fault(FaultKind.OVERLOADED, "Busy."))
    assert status == 503
    assert json.loads(body) == {"error": {"message": "Busy.", "type": "service_unavailable_error", "param": None, "code": "server_is_overloaded"}}


def test_upstream_dies_before_substance_and_the_head_is_out() -> None:
    assert short(encode(DIED)) == "RC RP error failed [DONE]"


def test_usage_arrives_after_the_finish_reason() -> None:
    """The terminal event is `Finished`'s, and usage that came any time before is in it."""
    raw = encode(STARTED, *text(0, "Hi."), Metered(Usage(3, 2, 1, 0, 1)), STOP)
    response = docs(raw)[-1]["response"]
    assert response["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 5,
    }
    assert all(doc["response"]["usage"] is None for doc in docs(raw)[:2])
