"""What servers that call themselves compatible really send, and what it means."""

from typing import Any

import orjson
import pytest

from tests.dialects.chat.frames import DONE, LIMIT, STOP, TOOLS, call, chunk, decode, frame, text, told
from trioproxy.dialects.chat.decoder import ChatDecoder
from trioproxy.errors import RemoteProtocolError
from trioproxy.model.events import (
    Finished,
    ItemClosed,
    ItemKind,
    ItemOpened,
    Metered,
    RefusalDelta,
    Started,
    TextDelta,
    ThoughtDelta,
)
from trioproxy.model.fault import FaultKind
from trioproxy.model.grammar import complaints
from trioproxy.model.items import Message, Reasoning, Text, ToolCall
from trioproxy.model.usage import FinishReason, Usage


def reason(*data: bytes) -> FinishReason | None:
    return told(*data).finish


def test_ordinary_answer() -> None:
    assert decode(chunk({"role": "assistant", "content": ""}), text("Hel"), text("lo"), STOP, DONE) == [
        Started("c1", "m", 7),
        ItemOpened(0, ItemKind.MESSAGE),
        TextDelta(0, "Hel"),
        TextDelta(0, "lo"),
        ItemClosed(0),
        Finished(FinishReason.STOP),
    ]


def test_thought_text_and_calls_are_items_in_their_order() -> None:
    response = told(chunk({"reasoning_content": "Hm."}), text("So:"), chunk(call(id="a", name="f", arguments="{")), chunk(call(arguments="}")), TOOLS, DONE)
    assert response.items == (Reasoning("Hm."), Message("assistant", (Text("So:"),)), ToolCall("a", "f", "{}"))
    assert response.finish is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_thought_has_two_names(key: str) -> None:
    assert told(chunk({key: "Hm."}), STOP, DONE).items == (Reasoning("Hm."),)


def test_thought_said_under_both_names_is_said_once() -> None:
    assert told(chunk({"reasoning": "Hm.", "reasoning_content": "Hm."}), STOP, DONE).items == (Reasoning("Hm."),)


def test_thought_that_resumes_after_text_is_a_new_item() -> None:
    response = told(chunk({"reasoning": "a"}), text("b"), chunk({"reasoning": "c"}), text("d"), STOP, DONE)
    assert [type(item).__name__ for item in response.items] == ["Reasoning", "Message", "Reasoning", "Message"]


def test_text_after_a_call_is_a_new_message() -> None:
    response = told(text("a"), chunk(call(id="x", name="f", arguments="{}")), text("b"), TOOLS, DONE)
    assert [type(item).__name__ for item in response.items] == ["Message", "ToolCall", "Message"]


def test_details_of_a_thought_come_back_sealed() -> None:
    """OpenRouter: pieces of one index are one detail, and what a signature belongs to is kept to be sent back unmodified."""
    pieces = [{"type": "reasoning.text", "text": "A", "index": 0}, {"type": "reasoning.text", "text": "B", "signature": "s", "index": 0}]
    response = told(*(chunk({"reasoning": piece["text"], "reasoning_details": [piece]}) for piece in pieces), text("x"), STOP, DONE)
    thought = response.items[0]
    assert isinstance(thought, Reasoning)
    assert thought.text == "AB"
    assert thought.seal is not None
    assert orjson.loads(thought.seal.blob) == [{"type": "reasoning.text", "text": "AB", "signature": "s", "index": 0}]


def test_content_as_parts() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    response = told(chunk({"content": [thinking]}), chunk({"content": [{"type": "text", "text": "Yes"}]}), STOP, DONE)
    assert response.items == (Reasoning("Hm."), Message("assistant", (Text("Yes"),)))


@pytest.mark.parametrize("empty", [{}, {"content": ""}, {"content": None}, {"content": "", "reasoning_content": ""}, {"tool_calls": []}, {"tool_calls": None}])
def test_empty_deltas_say_nothing(empty: dict[str, Any]) -> None:
    assert told(chunk(empty), chunk(empty), STOP, DONE).items == ()


def test_refusal() -> None:
    events = decode(chunk({"refusal": "No."}), STOP, DONE)
    assert RefusalDelta(0, "No.") in events
    assert complaints(events) == []


def test_citations_become_flat() -> None:
    citation = {"url": "https://example.org", "title": "T", "start_index": 0, "end_index": 1}
    response = told(text("a"), chunk({"annotations": [{"type": "url_citation", "url_citation": citation}, "odd", {}]}), STOP, DONE)
    assert response.items == (Message("assistant", (Text("a", ({"type": "url_citation", **citation},)),)),)


def test_logprobs_get_their_bytes() -> None:
    odd: list[Any] = [{"token": "é", "logprob": -1, "bytes": None, "top_logprobs": [{"token": "e", "logprob": -2.5, "bytes": [101]}, 3]}, "odd"]
    choice = {"index": 0, "delta": {"content": "é"}, "logprobs": {"content": odd}, "finish_reason": None}
    (message,) = told(frame({"id": "c", "choices": [choice]}), STOP, DONE).items
    assert isinstance(message, Message)
    part = message.parts[0]
    assert isinstance(part, Text)
    top = [{"token": "e", "logprob": -2.5, "bytes": [101]}]
    assert part.logprobs == ({"token": "é", "logprob": -1, "bytes": [195, 169], "top_logprobs": top},)


# -- the end --------------------------------------------------------------------------------------------------------------------------------------------------

WORDS = [
    ("stop", FinishReason.STOP),
    ("length", FinishReason.LENGTH),
    ("max_tokens", FinishReason.LENGTH),
    ("content_filter", FinishReason.CONTENT_FILTER),
    ("eos", FinishReason.STOP),
    ("tool_calls", FinishReason.STOP),
]


@pytest.mark.parametrize(("word", "wanted"), WORDS)
def test_finish_reasons(word: str, wanted: FinishReason) -> None:
    assert reason(text("a"), chunk({}, word), DONE) is wanted


@pytest.mark.parametrize("word", ["stop", "tool_calls", "tool_use", "function_call", "odd"])
def test_end_after_calls_is_theirs(word: str) -> None:
    assert reason(chunk(call(id="x", name="f", arguments="{}")), chunk({}, word), DONE) is FinishReason.TOOL_CALLS


def test_cut_answer_is_cut_in_its_last_item() -> None:
    response = told(chunk({"reasoning": "a"}), text("b"), chunk({}, "length"), DONE)
    assert [item.complete for item in response.items if not isinstance(item, Text)] == [True, False]  # type: ignore[union-attr]


def test_cut_call_is_incomplete() -> None:
    (item,) = told(chunk(call(id="x", name="f", arguments='{"a')), chunk({}, "length"), DONE).items
    assert item == ToolCall("x", "f", '{"a', complete=False)


def test_usage_after_the_finish_reason_counts() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 99}
    events = decode(text("a"), STOP, frame({"choices": [], "usage": usage}), DONE)
    assert events[-3:] == [Metered(Usage(5, 3)), ItemClosed(0), Finished(FinishReason.STOP)]


def test_usage_on_every_chunk_is_told_when_it_changes() -> None:
    def usage(count: int) -> dict[str, int]:
        return {"prompt_tokens": 5, "completion_tokens": count}

    events = decode(*(chunk({"content": "a"}, usage=usage(count)) for count in (1, 1, 2)), chunk({}, "stop", usage=usage(2)), DONE)
    assert [event.usage.output for event in events if isinstance(event, Metered)] == [1, 2]
    assert complaints(events) == []


USAGES: list[tuple[Any, Usage | None]] = [
    (None, None),
    ({}, None),
    ("odd", None),
    ({"prompt_tokens": None, "completion_tokens": "x"}, Usage()),
    ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2}}, Usage(9, 4, 3, 2)),
    ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 3}, Usage(9, 4, 3)),
    ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "completion_tokens_details": {"reasoning_tokens": 2}}, Usage(9, 4, reasoning=2)),
    ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 15, "completion_tokens_details": {"reasoning_tokens": 2}}, Usage(9, 6, reasoning=2)),
    ({"prompt_tokens": 9.0, "completion_tokens": 1e300, "prompt_tokens_details": []}, Usage(9, 0)),
]


@pytest.mark.parametrize(("doc", "wanted"), USAGES)
def test_usage(doc: Any, wanted: Usage | None) -> None:
    assert told(chunk({"content": "a"}, "stop", usage=doc), DONE).usage == wanted


def test_usage_inside_the_choice() -> None:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    assert told(frame({"id": "c", "choices": [choice]}), DONE).usage == Usage(1, 2)


def test_missing_done_after_a_finish_reason_is_whole() -> None:
    assert reason(text("a"), STOP) is FinishReason.STOP


def test_last_frame_without_its_blank_line_counts() -> None:
    assert reason(text("a"), STOP.rstrip(b"\n")) is FinishReason.STOP


def test_last_frame_that_was_cut_says_nothing() -> None:
    assert reason(text("a"), STOP, b'data: {"choi') is FinishReason.STOP


SAID = [[], [text("a")], [chunk({"role": "assistant"})], [b": ping\n\n"]]


@pytest.mark.parametrize("stream", [*SAID, [text("a"), b"data: {"], *([*each, DONE] for each in SAID)])
def test_end_without_a_finish_reason_is_no_end(stream: list[bytes]) -> None:
    response = told(*stream)
    assert response.finish is None
    assert response.fault is not None
    assert response.fault.kind is FaultKind.UPSTREAM
    assert "closed before a finish reason" in response.fault.message


def test_quirk_lets_done_be_an_end() -> None:
    quirk = frozenset({"no_finish_reason"})
    assert told(text("a"), DONE, quirks=quirk).finish is FinishReason.STOP
    assert told(text("a"), quirks=quirk).fault is not None
    assert told(DONE, quirks=quirk).fault is not None


def test_nothing_follows_an_end() -> None:
    decoder = ChatDecoder(LIMIT)
    assert decoder.feed(text("a") + STOP + DONE + text("b"))[-1] == Finished(FinishReason.STOP)
    assert decoder.feed(text("c")) == []
    assert decoder.finish() == []


def test_chunks_after_the_finish_reason_still_count() -> None:
    assert told(text("a"), STOP, text("b"), DONE).items == (Message("assistant", (Text("ab"),)),)


def test_service_tier_is_told() -> None:
    assert told(chunk({"content": "a"}, "stop", service_tier="flex"), DONE).service_tier == "flex"


# -- odd chunks -----------------------------------------------------------------------------------------------------------------------------------------------

AZURE = {"id": "", "model": "", "created": 0, "object": "", "choices": [], "prompt_filter_results": []}


@pytest.mark.parametrize("odd", [frame(AZURE), frame({"choices": []}), frame({"type": "ping"}), frame({}), b": keep-alive\n\n", b"data:\n\n", b"data: \n\n"])
def test_chunks_that_say_nothing(odd: bytes) -> None:
    assert decode(odd, text("a"), odd, STOP, odd, DONE) == decode(text("a"), STOP, DONE)


def test_other_choices_are_not_heard() -> None:
    other = frame({"id": "c1", "choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "length"}]})
    response = told(text("a"), other, text("c"), STOP, DONE)
    assert response.items == (Message("assistant", (Text("ac"),)),)
    assert response.finish is FinishReason.STOP


def test_message_in_place_of_a_delta() -> None:
    whole = frame({"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]})
    assert told(whole, DONE).items == (Message("assistant", (Text("a"),)),)


FAULTS: list[tuple[bytes, FaultKind, str]] = [
    (frame({"error": {"message": "Slow down", "type": "requests", "code": "rate_limit_exceeded"}}), FaultKind.RATE_LIMITED, "Slow down"),
    (frame({"error": {"message": "No room", "code": 503}}), FaultKind.OVERLOADED, "No room"),
    (frame({"error": "all went wrong"}), FaultKind.UPSTREAM, "all went wrong"),
    (frame({"error": {"message": "x", "metadata": {"error_type": "rate_limit_exceeded"}}, "choices": []}), FaultKind.RATE_LIMITED, "x"),
    (frame({"object": "error", "message": "bad input", "type": "BadRequestError", "code": 400}), FaultKind.INVALID, "bad input"),
    (b'event: error\ndata: {"message": "late", "code": "timeout"}\n\n', FaultKind.TIMEOUT, "late"),
    (b'event: error\ndata: "late"\n\n', FaultKind.UPSTREAM, "late"),
    (chunk({}, "error"), FaultKind.UPSTREAM, "The backend reported an error."),
    (frame({"error": {"message": "key sk-abcdefghijk refused", "code": 401}}), FaultKind.UNAUTHENTICATED, "key *** refused"),
    (frame({"error": [1]}), FaultKind.UPSTREAM, "The backend reported an error."),
]


@pytest.mark.parametrize(("stream", "kind", "message"), FAULTS)
@pytest.mark.parametrize("before", [b"", text("a") + text("b")])
def test_error_in_the_stream(before: bytes, stream: bytes, kind: FaultKind, message: str) -> None:
    fault = told(before + stream, DONE).fault
    assert fault is not None
    assert (fault.kind, fault.message) == (kind, message)


BROKEN = [
    b"data: {not json\n\n",
    b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
    b"data: [1]\n\n",
    b"data: 3\n\n",
    b'data: "text"\n\n',
    frame({"choices": {}}),
    frame({"choices": "x"}),
    frame({"choices": [3]}),
    frame({"choices": [None]}),
    frame({"choices": [{"delta": "x"}]}),
    frame({"choices": [{"delta": {"content": 3}}]}),
    frame({"choices": [{"delta": {"content": {"a": 1}}}]}),
    frame({"choices": [{"delta": {"content": ["x"]}}]}),
    frame({"choices": [{"delta": {"refusal": 3}}]}),
    frame({"choices": [{"delta": {"tool_calls": "x"}}]}),
    frame({"choices": [{"delta": {"tool_calls": [3]}}]}),
    frame({"choices": [{"delta": {"tool_calls": [{"function": "x"}]}}]}),
    frame({"choices": [{"delta": {"tool_calls": [{"function": {"name": []}}]}}]}),
    frame({"choices": [{"delta": {"tool_calls": [{"function": {"arguments": 3}}]}}]}),
    frame({"choices": [{"delta": {"function_call": "x"}}]}),
    frame({"choices": [{"finish_reason": 3}]}),
    b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}}]}}]}\n\n",
]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("before", [b"", text("a") + text("b")])
def test_wrong_shape_is_a_broken_peer(before: bytes, broken: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(before + broken)
    assert caught.value.__cause__ is None or "sk-" not in str(caught.value.__cause__)


def test_frame_beyond_the_limit_is_a_broken_peer() -> None:
    with pytest.raises(RemoteProtocolError):
        decode(text("a" * 300), limit=200)


def test_settled_while_nothing_is_kept() -> None:
    decoder = ChatDecoder(LIMIT)
    assert decoder.settled
    decoder.feed(b"data: {")
    assert not decoder.settled


def test_thought_delta_is_raw_text() -> None:
    assert ThoughtDelta(0, "Hm.") in decode(chunk({"reasoning": "Hm."}), STOP, DONE)
