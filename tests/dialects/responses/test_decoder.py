"""Backends vary: what is forgiven, what is not, and that nothing but `RemoteProtocolError` ever comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dialects.responses.rig import LIMIT, SETTING, decode
from trioproxy.dialects.responses import RESPONSES
from trioproxy.errors import RemoteProtocolError
from trioproxy.model.events import (
    Annotated,
    ArgumentsDelta,
    Event,
    Failed,
    Finished,
    Foreign,
    ItemClosed,
    ItemKind,
    ItemOpened,
    Metered,
    RefusalDelta,
    Sealed,
    Started,
    TextDelta,
    ThoughtDelta,
)
from trioproxy.model.fault import FaultKind
from trioproxy.model.fold import fold
from trioproxy.model.grammar import complaints
from trioproxy.model.items import Message, Seal, Text, ToolCall
from trioproxy.model.usage import FinishReason
from trioproxy.testing.strategies import answers

Doc = dict[str, Any]


def sse(*events: Doc, named: bool = True) -> bytes:
    return b"".join((b"event: %b\n" % doc["type"].encode() if named and "type" in doc else b"") + b"data: %b\n\n" % json.dumps(doc).encode() for doc in events)


def created(**fields: Any) -> Doc:
    return {"type": "response.created", "response": {"id": "resp_1", "model": "m", "created_at": 7.0, "status": "in_progress"} | fields}


def completed(*output: Doc, status: str = "completed", **fields: Any) -> Doc:
    return {"type": f"response.{status}", "response": {"id": "resp_1", "status": status, "output": list(output)} | fields}


def added(item: Doc, place: int | None = None) -> Doc:
    return {"type": "response.output_item.added", "item": item} | ({} if place is None else {"output_index": place})


def done(item: Doc, place: int | None = None) -> Doc:
    return {"type": "response.output_item.done", "item": item} | ({} if place is None else {"output_index": place})


def message(text: str, id: str = "msg_1", **fields: Any) -> Doc:
    return {"type": "message", "id": id, "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": text}]} | fields


def delta(kind: str, text: Any, **where: Any) -> Doc:
    return {"type": f"response.{kind}.delta", "delta": text} | where


def good(*events: Doc, named: bool = True) -> list[Event]:
    """The events of a stream, which must be grammatical."""
    found = decode(sse(*events, named=named))
    assert complaints(found) == []
    return found


def answer_text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_a_stream_without_event_names_and_without_done() -> None:
    """As `transformers serve` sends it."""
    events = good(created(), added(message(""), 0), delta("output_text", "Hi", output_index=0), done(message("Hi"), 0), completed(message("Hi")), named=False)
    assert answer_text(events) == "Hi"
    assert isinstance(events[-1], Finished)


def test_a_bare_error_in_mid_stream() -> None:
    events = decode(sse(created()) + b'data: {"error": "CUDA out of memory"}\n\n')
    fault = events[-1]
    assert isinstance(fault, Failed)
    assert fault.fault.message == "CUDA out of memory"


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "Slow.", "param": None},
        {"type": "error", "error": {"type": "requests", "code": "rate_limit_exceeded", "message": "Slow."}},
        {"type": "response.failed", "response": {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "Slow."}}},
    ],
    ids=["flat", "nested", "failed"],
)
def test_an_error_keeps_its_code(error: Doc) -> None:
    event = decode(sse(created(), error))[-1]
    assert isinstance(event, Failed)
    assert (event.fault.kind, event.fault.code, event.fault.message) == (FaultKind.RATE_LIMITED, "rate_limit_exceeded", "Slow.")


def test_nothing_follows_an_end() -> None:
    decoder = RESPONSES.Decoder(LIMIT, frozenset())
    assert isinstance(decoder.feed(sse(created(), completed()))[-1], Finished)
    assert decoder.feed(sse(delta("output_text", "more"))) == []
    assert decoder.finish() == []


def test_an_end_that_never_came_is_a_fault() -> None:
    events = decode(sse(created(), added(message(""), 0), delta("output_text", "Hi", output_index=0)) + b"data: [DONE]\n\n")
    assert isinstance(events[-1], Failed)
    assert events[-1].fault.kind is FaultKind.UPSTREAM


def test_an_empty_body_is_a_fault() -> None:
    assert [type(event) for event in decode(b"")] == [Started, Failed]


def test_text_that_was_never_streamed_comes_from_the_finished_item() -> None:
    events = good(created(), added(message(""), 0), delta("output_text", "Hel", output_index=0), done(message("Hello."), 0), completed(message("Hello.")))
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hel", "lo."]


def test_text_that_was_never_streamed_comes_from_the_terminal_response() -> None:
    events = good(created(), completed(message("Hello.")))
    assert fold(events).items == (Message("assistant", (Text("Hello."),), "msg_1"),)


def test_an_item_that_was_never_finished_is_finished_by_the_terminal_response() -> None:
    events = good(created(), added(message(""), 0), delta("output_text", "Hel", output_index=0), completed(message("Hello.")))
    assert answer_text(events) == "Hello."


def test_a_finished_item_under_another_id_is_not_said_twice() -> None:
    events = good(created(), added(message("", "a"), 0), delta("output_text", "Hi", output_index=0), completed(message("Hi", "b")))
    assert answer_text(events) == "Hi"


def test_an_item_that_nobody_finished_counts_as_cut() -> None:
    events = good(created(), added(message(""), 0), delta("output_text", "Hi", output_index=0), completed(status="incomplete"))
    assert ItemClosed(0, False) in events
    assert events[-1] == Finished(FinishReason.LENGTH)


def test_deltas_without_an_item_open_one() -> None:
    events = good(created(), delta("output_text", "Hi"), completed())
    assert answer_text(events) == "Hi"


def test_a_call_waits_for_its_name() -> None:
    bare = {"type": "function_call", "id": "fc_1", "arguments": ""}
    whole = bare | {"call_id": "call_1", "name": "add", "arguments": "{}"}
    events = good(created(), added(bare, 0), delta("function_call_arguments", "{}", output_index=0), done(whole, 0), completed(whole))
    assert fold(events).items == (ToolCall("call_1", "add", "{}", item_id="fc_1"),)
    assert events[-1] == Finished(FinishReason.TOOL_CALLS)


def test_a_call_without_a_name_is_no_answer() -> None:
    with pytest.raises(RemoteProtocolError, match="without a name"):
        decode(sse(created(), done({"type": "function_call", "id": "fc_1", "arguments": "{}"}, 0)))


def test_items_may_overlap() -> None:
    def call(place: int) -> Doc:
        return {"type": "function_call", "id": f"fc_{place}", "call_id": f"call_{place}", "name": "add", "arguments": ""}

    events = good(
        created(),
        added(call(0), 0),
        added(call(1), 1),
        delta("function_call_arguments", "[1]", output_index=1),
        delta("function_call_arguments", "[0]", output_index=0),
        done(call(1) | {"arguments": "[1]"}, 1),
        done(call(0) | {"arguments": "[0]"}, 0),
        completed(),
    )
    assert [item.arguments for item in fold(events).items if isinstance(item, ToolCall)] == ["[0]", "[1]"]


def test_a_namespaced_call() -> None:
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add", "namespace": "sums", "arguments": "{}"}
    assert ItemOpened(0, ItemKind.FUNCTION, "call_1", "add", "fc_1", "sums") in good(created(), done(item, 0), completed())


def test_a_custom_call() -> None:
    item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "patch", "input": "***"}
    events = good(created(), added(item | {"input": ""}, 0), delta("custom_tool_call_input", "**", output_index=0), done(item, 0), completed())
    assert [event.text for event in events if isinstance(event, ArgumentsDelta)] == ["**", "*"]


def test_thought_in_all_its_names() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": []}
    whole = item | {"summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}], "encrypted_content": "sealed"}
    events = good(
        created(),
        added(item, 0),
        {"type": "response.reasoning_part.added", "output_index": 0},
        delta("reasoning_summary_text", "one", output_index=0, summary_index=0),
        delta("reasoning.delta".removesuffix(".delta"), "raw", output_index=0),
        delta("reasoning_text", "er", output_index=0, content_index=0),
        done(whole, 0),
        completed(),
    )
    assert [event for event in events if isinstance(event, ThoughtDelta | Sealed)] == [
        ThoughtDelta(0, "one", True, 0),
        ThoughtDelta(0, "raw"),
        ThoughtDelta(0, "er"),
        ThoughtDelta(0, "two", True, 1),
        Sealed(0, Seal("responses", "sealed")),
    ]


def test_refusals_citations_and_log_probabilities() -> None:
    citation = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    second = citation | {"url": "v"}
    logprob = {"token": "H", "logprob": -0.1, "bytes": [72], "top_logprobs": []}
    whole = message("", content=[{"type": "output_text", "text": "H", "annotations": [citation, second]}, {"type": "refusal", "refusal": "No."}])
    events = good(
        created(),
        added(message("", content=[]), 0),
        delta("output_text", "H", output_index=0, logprobs=[logprob]),
        {"type": "response.output_text.annotation.added", "output_index": 0, "annotation": citation},
        delta("refusal", "N", output_index=0),
        done(whole, 0),
        completed(),
    )
    assert [event for event in events if isinstance(event, TextDelta | Annotated | RefusalDelta)] == [
        TextDelta(0, "H", (logprob,)),
        Annotated(0, citation),
        RefusalDelta(0, "N"),
        Annotated(0, second),
        RefusalDelta(0, "o."),
    ]


def test_a_hosted_call_passes_whole() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
    progress = {"type": "response.web_search_call.searching", "item_id": "ws_1", "output_index": 0}
    events = good(created(), added(item | {"status": "in_progress"}, 0), progress, done(item, 0), completed(item))
    assert [event for event in events if isinstance(event, Foreign)] == [Foreign(0, "responses", item)]
    again = decode(RESPONSES.Encoder(SETTING).encode(events))
    assert [event for event in again if isinstance(event, Foreign)] == [Foreign(0, "responses", item)]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"incomplete_details": {"reason": "max_output_tokens"}}, FinishReason.LENGTH),
        ({"incomplete_details": {"reason": "content_filter"}}, FinishReason.CONTENT_FILTER),
        ({"incomplete_details": None}, FinishReason.LENGTH),
    ],
)
def test_why_a_response_is_incomplete(response: Doc, reason: FinishReason) -> None:
    assert good(created(), completed(status="incomplete", **response))[-1] == Finished(reason)


def test_a_cancelled_response_is_a_fault() -> None:
    end = good(created(), completed(status="cancelled"))[-1]
    assert isinstance(end, Failed)


def test_usage_and_tier_of_the_terminal_response() -> None:
    usage = {
        "input_tokens": 5,
        "output_tokens": 4,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 1},
        "output_tokens_details": {"reasoning_tokens": 2},
    }
    events = good(created(), completed(usage=usage, service_tier="flex"))
    metered, end = events[-2:]
    assert isinstance(metered, Metered)
    assert (metered.usage.input, metered.usage.cached, metered.usage.cache_written, metered.usage.output, metered.usage.reasoning) == (5, 3, 1, 4, 2)
    assert end == Finished(FinishReason.STOP, "flex")


@pytest.mark.parametrize(
    "frame",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b"data: 7\n\n",
        b'data: {"type":"response.created"}\n\n',
        b'data: {"type":"response.output_text.delta","delta":7}\n\n',
        b'data: {"type":"response.output_item.added","item":{"type":7}}\n\n',
        b'data: {"type":"response.completed","response":{"output":7}}\n\n',
        b'data: {"type":"response.output_text.delta","delta":"\xff"}\n\n',
        b"data: " + b"x" * (LIMIT + 1),
    ],
)
def test_what_is_not_forgiven(frame: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(frame)


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 1 << 70), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["", "x", "message", "fc_1"])
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "id", "text", "item", "content"]), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for key, child in inner for each in places(child, (*path, key)))]


def mutate(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = mutate(copy[path[0]], path[1:], value)
    return copy


@settings(max_examples=200, deadline=None)
@given(answers(most=3), st.data())
def test_a_backend_that_says_nonsense_gets_an_error_and_no_crash(events: list[Event], data: st.DataObject) -> None:
    """Any value anywhere in a good stream is replaced; what comes out is grammatical, or `RemoteProtocolError`."""
    raw = RESPONSES.Encoder(SETTING).encode(events)
    frames = [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: {")]
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(frames) - 1))
        if isinstance(frames[index], dict):
            frames[index] = mutate(frames[index], data.draw(st.sampled_from(places(frames[index])[1:40] or [()])), data.draw(JSON))
    body = b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in frames)
    try:
        found = decode(body)
    except RemoteProtocolError:
        return
    assert complaints(found) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["type", "item", "response", "delta", "error", "output_index", "item_id"]), JSON, max_size=4), max_size=4))
def test_random_documents_never_crash(frames: list[Doc]) -> None:
    try:
        found = decode(b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in frames))
    except RemoteProtocolError:
        return
    assert complaints(found) == []


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["status", "output", "error", "usage", "id", "model", "created_at", "incomplete_details", "service_tier"]), JSON, max_size=6
    )
)
def test_random_plain_answers_never_crash(document: Doc) -> None:
    try:
        found = RESPONSES.read_response(json.dumps(document).encode(), frozenset())
    except RemoteProtocolError:
        return
    assert complaints(found) == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"status":"completed"}', b'{"status":"queued","output":[]}', b'{"output":[{"type":7}]}'])
def test_a_body_that_is_no_answer(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        RESPONSES.read_response(body, frozenset())


def test_a_plain_answer_that_failed() -> None:
    body = json.dumps({"status": "failed", "output": [message("So far")], "error": {"code": "server_error", "message": "Broken."}}).encode()
    answer = fold(RESPONSES.read_response(body, frozenset()))
    assert answer.fault is not None
    assert answer.fault.message == "Broken."
    assert len(answer.items) == 1


def test_an_error_body_with_status_200() -> None:
    events = RESPONSES.read_response(b'{"error":{"message":"Busy.","code":"server_is_overloaded"}}', frozenset())
    end = events[-1]
    assert isinstance(end, Failed)
    assert end.fault.kind is FaultKind.OVERLOADED


def test_a_stream_where_a_plain_answer_was_asked_for() -> None:
    """`transformers serve` streams always."""
    answer = fold(RESPONSES.read_response(sse(created(), completed(message("Hi"))), frozenset()))
    assert answer.items == (Message("assistant", (Text("Hi"),), "msg_1"),)
