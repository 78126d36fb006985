"""The checkers of streams must notice: every single mutation of a good stream breaks a rule, and so does every wrong field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.dialects.responses.rig import docs, encode, thought
from trioproxy.model.events import (
    Annotated,
    ArgumentsDelta,
    Event,
    Failed,
    Finished,
    ItemClosed,
    ItemKind,
    ItemOpened,
    Metered,
    RefusalDelta,
    Started,
    TextDelta,
)
from trioproxy.model.fault import Fault, FaultKind
from trioproxy.model.usage import FinishReason, Usage
from trioproxy.testing.order import check_chat_stream, check_responses_stream
from trioproxy.testing.walker import check_chunk, check_completion, check_event, check_response

Doc = dict[str, Any]
CITATION = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
RICH: list[Event] = [
    Started(),
    *thought(0, "Hm", "m."),
    *thought(1, "raw", summary=False),
    ItemOpened(2, ItemKind.MESSAGE),
    TextDelta(2, "Hel"),
    TextDelta(2, "lo."),
    Annotated(2, CITATION),
    RefusalDelta(2, "No."),
    ItemClosed(2),
    ItemOpened(3, ItemKind.FUNCTION, "c", "add"),
    ArgumentsDelta(3, "{}"),
    ItemClosed(3),
    Metered(Usage(1, 2)),
    Finished(FinishReason.LENGTH),
]
STREAMS = {"ended": encode(*RICH), "failed": encode(*RICH[:-6], Failed(Fault(FaultKind.UPSTREAM, "Broke.")))}


def join(frames: list[Doc]) -> bytes:
    """A stream of `frames`, numbered anew, so that only the order can be wrong."""
    numbered = [doc | {"sequence_number": number} for number, doc in enumerate(frames)]
    return b"".join(b"event: %b\ndata: %b\n\n" % (doc["type"].encode(), json.dumps(doc).encode()) for doc in numbered) + b"data: [DONE]\n\n"


@pytest.mark.parametrize("raw", STREAMS.values(), ids=STREAMS)
def test_a_good_stream_is_good(raw: bytes) -> None:
    assert check_responses_stream(join(docs(raw))) == []


@pytest.mark.parametrize("raw", STREAMS.values(), ids=STREAMS)
def test_a_missing_event_is_noticed(raw: bytes) -> None:
    """Those that may be missing: `in_progress`, and the citation and the error, whose absence nothing else contradicts."""
    whole = docs(raw)
    unseen = [doc["type"] for place, doc in enumerate(whole) if not check_responses_stream(join(whole[:place] + whole[place + 1 :]))]
    assert set(unseen) <= {"response.in_progress", "response.output_text.annotation.added", "error"}


@pytest.mark.parametrize("raw", STREAMS.values(), ids=STREAMS)
def test_a_repeated_event_is_noticed(raw: bytes) -> None:
    whole = docs(raw)
    unseen = [doc["type"] for place, doc in enumerate(whole) if not check_responses_stream(join([*whole[: place + 1], *whole[place:]]))]
    assert set(unseen) <= {"response.output_text.annotation.added"}


@pytest.mark.parametrize("raw", STREAMS.values(), ids=STREAMS)
def test_two_swapped_events_are_noticed(raw: bytes) -> None:
    whole = docs(raw)
    for place in range(len(whole) - 1):
        first, second = whole[place], whole[place + 1]
        if "annotation" not in first["type"] + second["type"]:
            assert check_responses_stream(join([*whole[:place], second, first, *whole[place + 2 :]])), (first["type"], second["type"])


@pytest.mark.parametrize(
    "mutate",
    [
        lambda raw: raw.removesuffix(b"data: [DONE]\n\n"),
        lambda raw: raw + b"data: [DONE]\n\n",
        lambda raw: raw[:-1],
        lambda raw: raw.replace(b'"sequence_number":5,', b'"sequence_number":6,', 1),
        lambda raw: raw.replace(b"event: response.created", b"event: response.queued", 1),
        lambda raw: raw.replace(b"event: response.created\n", b"", 1),
        lambda raw: raw.replace(b'"delta":"Hel"', b'"delta":"Hal"', 1),
        lambda raw: raw.replace(b'"status":"incomplete"', b'"status":"completed"', 1),
        lambda raw: raw.replace(b'"id":"msg_0', b'"id":"msg_1', 1),
        lambda raw: raw.replace(b'"id":"resp_0', b'"id":"resp_1', 1),
        lambda raw: raw.replace(b'"item_id":"msg_0', b'"item_id":"msg_1', 1),
        lambda raw: raw.replace(b'"output":[]', b'"output":[{}]', 1),
    ],
)
def test_a_wrong_byte_is_noticed(mutate: Any) -> None:
    assert check_responses_stream(mutate(STREAMS["ended"]))


def test_the_walker_wants_every_required_key() -> None:
    for doc in docs(STREAMS["ended"]):
        assert check_event(doc) == []
        assert check_event({key: value for key, value in doc.items() if key != "sequence_number"})
        assert check_event(doc | {"sequence_number": "7"})
        assert check_event(doc | {"extra": 1})
        assert check_event(doc | {"type": "response.other"})


@pytest.mark.parametrize("key", ["id", "created_at", "model", "object", "output", "parallel_tool_calls", "tool_choice", "tools"])
def test_the_walker_wants_a_whole_response(key: str) -> None:
    response = docs(STREAMS["ended"])[-1]["response"]
    assert check_response(response) == []
    assert check_response({name: value for name, value in response.items() if name != key})
    assert check_response(response | {"status": "finished"})
    assert check_response(response | {"output": [{"type": "message"}]})
    assert check_response(response | {"usage": {"input_tokens": 1.5}})


CHUNK: Doc = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(delta: Doc, reason: str | None = None) -> Doc:
    return CHUNK | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}


USAGE = CHUNK | {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "add", "arguments": ""}}
CHAT: list[Doc] = [chunk({"role": "assistant", "content": ""}), chunk({"content": "Hi"}), chunk({"tool_calls": [CALL]}), chunk({}, "tool_calls"), USAGE]
ERROR: Doc = {"error": {"message": "m", "type": "t", "param": None, "code": None}}


def chat(*frames: Doc, done: bool = True) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(doc).encode() for doc in frames) + (b"data: [DONE]\n\n" if done else b"")


def test_a_good_chat_stream_is_good() -> None:
    assert check_chat_stream(chat(*CHAT)) == []
    assert check_chat_stream(chat(*CHAT[:2], ERROR, done=False)) == []
    assert [complaint for doc in CHAT for complaint in check_chunk(doc)] == []


@pytest.mark.parametrize(
    "raw",
    [
        chat(*CHAT, done=False),
        chat(*CHAT[:2], ERROR),
        chat(ERROR, *CHAT),
        chat(*CHAT[1:]),
        chat(CHAT[0], *CHAT),
        chat(*CHAT[:3]),
        chat(*CHAT[:4], CHAT[1]),
        chat(CHAT[4], *CHAT[:4]),
        chat(CHAT[0] | {"id": "other"}, *CHAT[1:]),
        chat(CHAT[0], chunk({"tool_calls": [CALL | {"index": 1}]}), *CHAT[3:]),
        chat(CHAT[0], chunk({"tool_calls": [CALL | {"id": None}]}), *CHAT[3:]),
        chat(*CHAT[:3], chunk({"tool_calls": [{"index": 0, "id": "d"}]}), *CHAT[3:]),
        chat(CHAT[0], CHUNK, *CHAT[1:]),
        b"event: x\n" + chat(*CHAT),
    ],
)
def test_a_bad_chat_stream_is_noticed(raw: bytes) -> None:
    assert check_chat_stream(raw)


def test_the_walker_knows_chat_too() -> None:
    message = {"role": "assistant", "content": "Hi", "refusal": None}
    whole = CHUNK | {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]}
    assert check_completion(whole) == []
    assert check_completion(whole | {"object": "x"})
    assert check_chunk(CHAT[0] | {"created": "1"})
