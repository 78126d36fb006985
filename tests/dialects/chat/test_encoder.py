"""What clients of Chat Completions are sent."""

from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from tests.dialects.chat.frames import setting
from trioproxy.dialects.chat import CHAT
from trioproxy.dialects.chat.encoder import ChatEncoder
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
from trioproxy.model.fault import Fault, FaultKind
from trioproxy.model.fold import Response, fold
from trioproxy.model.items import Seal
from trioproxy.model.usage import FinishReason, Usage

STOP, TOOLS = Finished(FinishReason.STOP), Finished(FinishReason.TOOL_CALLS)
HEAD = {"id": "chatcmpl-0123456789abcdef0123456789abcdef", "object": "chat.completion.chunk", "created": 1795336114, "model": "shown"}


def frames(events: Iterable[Event], **doc: Any) -> list[Any]:
    """The frames of a stream, read; `[DONE]` is None."""
    data = ChatEncoder(setting(**doc)).encode(list(events))
    assert data.endswith(b"\n\n")
    blocks = data.decode().removesuffix("\n\n").split("\n\n")
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [None if block == "data: [DONE]" else orjson.loads(block[6:]) for block in blocks]


def deltas(events: Iterable[Event], **doc: Any) -> list[dict[str, Any]]:
    return [frame["choices"][0]["delta"] for frame in frames(events, **doc) if frame and frame.get("choices")]


def message(*body: Event) -> list[Event]:
    return [Started(), ItemOpened(0, ItemKind.MESSAGE), *body, ItemClosed(0), STOP]


def call(index: int, *pieces: str, kind: ItemKind = ItemKind.FUNCTION, name: str = "f") -> list[Event]:
    return [ItemOpened(index, kind, f"id{index}", name), *(ArgumentsDelta(index, piece) for piece in pieces), ItemClosed(index)]


def test_whole_stream() -> None:
    assert frames(message(TextDelta(0, "Hi"))) == [
        HEAD | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}, "logprobs": None, "finish_reason": None}]},
        HEAD | {"choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": None, "finish_reason": None}]},
        HEAD | {"choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]},
        None,
    ]


def test_backends_model_is_shown_where_it_says_one() -> None:
    (first, *_) = frames([Started("x", "its-own", 5), STOP])
    assert (first["model"], first["id"], first["created"]) == ("its-own", HEAD["id"], HEAD["created"])


def test_usage_where_it_was_asked_for() -> None:
    events: list[Event] = [Started(), Metered(Usage(5, 3, 2, 1, 1)), STOP]
    *chunks, last, done = frames(events, stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in chunks)
    assert done is None
    assert last["choices"] == []
    usage = last["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (5, 3, 8)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 2
    assert usage["prompt_tokens_details"]["cache_write_tokens"] == 1
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 1


@pytest.mark.parametrize("doc", [{}, {"stream_options": None}, {"stream_options": {"include_usage": False}}])
def test_no_usage_where_it_was_not(doc: dict[str, Any]) -> None:
    assert all("usage" not in frame for frame in frames([Started(), Metered(Usage(5, 3)), STOP], **doc) if frame)


def test_calls_are_counted_among_themselves() -> None:
    text: list[Event] = [Started(), ItemOpened(0, ItemKind.MESSAGE), TextDelta(0, "a"), ItemClosed(0)]
    events = [*text, *call(1, "{", "}"), *call(2, "p", kind=ItemKind.CUSTOM), TOOLS]
    assert deltas(events)[2:] == [
        {"tool_calls": [{"index": 0, "id": "id1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
        {"tool_calls": [{"index": 1, "id": "id2", "type": "custom", "custom": {"name": "f", "input": ""}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": "p"}}]},
        {},
    ]


def test_no_content_before_calls() -> None:
    assert deltas([Started(), *call(0), TOOLS])[0] == {"role": "assistant", "content": None, "refusal": None}


def test_namespaced_call_has_one_name() -> None:
    events: list[Event] = [Started(), ItemOpened(0, ItemKind.FUNCTION, "x", "f", "", "ns"), ItemClosed(0), TOOLS]
    assert deltas(events)[1]["tool_calls"][0]["function"]["name"] == "ns__f"


def test_thoughts_refusals_citations_and_logprobs() -> None:
    citation = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    logprob = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}
    events: list[Event] = [
        Started(),
        ItemOpened(0, ItemKind.REASONING),
        ThoughtDelta(0, "a", True, 0),
        ThoughtDelta(0, "b", True, 0),
        ThoughtDelta(0, "c", True, 1),
        Sealed(0, Seal("chat", '[{"type":"reasoning.text"}]')),
        Sealed(0, Seal("other", "opaque")),
        ItemClosed(0),
        *message(TextDelta(0, "x", (logprob,)), RefusalDelta(0, "No."), Annotated(0, citation))[1:],
    ]
    found = frames(events)
    assert [frame["choices"][0]["delta"] for frame in found[1:-2]] == [
        {"reasoning_content": "a"},
        {"reasoning_content": "b"},
        {"reasoning_content": "\n\nc"},
        {"reasoning_details": [{"type": "reasoning.text"}]},
        {"content": "x"},
        {"refusal": "No."},
        {"annotations": [{"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}]},
    ]
    assert found[5]["choices"][0]["logprobs"] == {"content": [logprob], "refusal": None}


def test_items_of_other_dialects_are_silent() -> None:
    assert deltas([Started(), Foreign(0, "other", {}), STOP]) == deltas([Started(), STOP])


FINISHED: list[tuple[FinishReason, bool, str]] = [
    (FinishReason.STOP, False, "stop"),
    (FinishReason.STOP, True, "tool_calls"),
    (FinishReason.TOOL_CALLS, True, "tool_calls"),
    (FinishReason.TOOL_CALLS, False, "stop"),
    (FinishReason.LENGTH, True, "length"),
    (FinishReason.CONTENT_FILTER, False, "content_filter"),
]


@pytest.mark.parametrize(("reason", "called", "word"), FINISHED)
def test_finish_reasons(reason: FinishReason, called: bool, word: str) -> None:
    events = [Started(), *(call(0, "{}") if called else []), Finished(reason)]
    assert frames(events)[-2]["choices"][0]["finish_reason"] == word
    assert plain(events)["choices"][0]["finish_reason"] == word


def test_service_tier_comes_with_the_end() -> None:
    assert frames([Started(), Finished(FinishReason.STOP, "flex")])[-2]["service_tier"] == "flex"


def test_failure_is_an_error_without_done() -> None:
    fault = Fault(FaultKind.UPSTREAM, "It broke.")
    found = frames([*message(TextDelta(0, "a"))[:3], Failed(fault)])
    assert found[-1] == {"error": {"message": "It broke.", "type": "server_error", "param": None, "code": "server_error"}}
    assert None not in found
    assert frames([Started(), Failed(fault)]) == [found[-1]]
    assert frames([Failed(fault)]) == [found[-1]]


def test_nothing_follows_an_end() -> None:
    encoder = ChatEncoder(setting())
    assert encoder.encode([Started(), STOP])
    assert encoder.encode([TextDelta(0, "a")]) == b""


def test_provisional_events_are_not_yet_words() -> None:
    assert ChatEncoder(setting()).encode([Started()]) == b""


CUSTOM = [{"type": "custom", "custom": {"name": "patch"}}, {"type": "function", "function": {"name": "f"}}, "odd"]


def test_emulated_custom_tool_is_restored() -> None:
    events = [Started(), *call(0, '{"inp', 'ut":"a\\nb"}', name="patch"), *call(1, "{}"), TOOLS]
    assert deltas(events, tools=CUSTOM)[1:4] == [
        {"tool_calls": [{"index": 0, "id": "id0", "type": "custom", "custom": {"name": "patch", "input": ""}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "a\nb"}}]},
        {"tool_calls": [{"index": 1, "id": "id1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
    ]
    assert plain(events, tools=CUSTOM)["choices"][0]["message"]["tool_calls"][0]["custom"] == {"name": "patch", "input": "a\nb"}


@pytest.mark.parametrize("arguments", ["not json", '{"inpu', "[1]", '{"input":3}', "{}"])
def test_what_was_not_emulated_rightly_is_handed_on(arguments: str) -> None:
    events = [Started(), *call(0, arguments, name="patch"), TOOLS]
    assert plain(events, tools=CUSTOM)["choices"][0]["message"]["tool_calls"][0]["custom"]["input"] == arguments
    assert deltas(events, tools=CUSTOM)[2] == {"tool_calls": [{"index": 0, "custom": {"input": arguments}}]}


def test_legacy_client_gets_one_function_call() -> None:
    events = [Started(), *call(0, "{", "}"), *call(1, "{}"), TOOLS]
    doc = {"functions": [{"name": "f"}]}
    assert deltas(events, **doc)[1:] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{"}},
        {"function_call": {"arguments": "}"}},
        {},
    ]
    assert frames(events, **doc)[-2]["choices"][0]["finish_reason"] == "function_call"
    choice = plain(events, **doc)["choices"][0]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert choice["finish_reason"] == "function_call"
    assert "tool_calls" not in choice["message"]


# -- plain answers --------------------------------------------------------------------------------------------------------------------------------------------


def plain(events: list[Event], **doc: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(CHAT.write_response(fold(events), setting(**doc)))
    return found


def test_plain_answer() -> None:
    doc = plain([Started("x", "its-own", 1), *message(TextDelta(0, "Hi"))[1:-1], Metered(Usage(5, 3)), Finished(FinishReason.STOP, "flex")])
    assert doc.pop("usage")["total_tokens"] == 8
    assert doc == {
        "id": HEAD["id"],
        "object": "chat.completion",
        "created": HEAD["created"],
        "model": "its-own",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "service_tier": "flex",
    }


def test_plain_answer_of_calls_alone_has_no_content() -> None:
    said = plain([Started(), *call(0, "{}"), TOOLS])["choices"][0]["message"]
    assert said["content"] is None
    assert said["tool_calls"] == [{"id": "id0", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def test_plain_answer_of_nothing_has_empty_content_and_usage() -> None:
    doc = orjson.loads(CHAT.write_response(Response(finish=FinishReason.STOP), setting()))
    assert doc["choices"][0]["message"] == {"role": "assistant", "content": "", "refusal": None}
    assert doc["usage"]["total_tokens"] == 0
    assert doc["model"] == "shown"
