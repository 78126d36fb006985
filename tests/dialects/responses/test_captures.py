"""What llama.cpp's server really sent, and what Codex and the official SDK really ask: golden transcripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dialects.responses.rig import SETTING, complain, decode, docs
from trioproxy.dialects.responses import RESPONSES
from trioproxy.errors import FaultError
from trioproxy.model.fold import fold
from trioproxy.model.grammar import complaints
from trioproxy.model.items import Message, Reasoning, ToolCall, ToolResult
from trioproxy.model.usage import FinishReason
from trioproxy.testing.strategies import chop, cuts

DATA = Path(__file__).parents[2] / "data" / "responses"
STREAMS = ("llama_text", "llama_tools", "llama_result", "llama_json")


def bodies(client: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DATA / f"{client}.json").read_text())
    return found


@pytest.mark.parametrize("name", STREAMS)
def test_a_transcript_decodes_as_it_always_did(name: str) -> None:
    events = decode((DATA / f"{name}.sse").read_bytes())
    assert "".join(f"{event!r}\n" for event in events) == (DATA / f"{name}.events").read_text()
    assert complaints(events) == []


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(STREAMS), cuts())
def test_a_transcript_may_be_cut_anywhere(name: str, places: list[float]) -> None:
    raw = (DATA / f"{name}.sse").read_bytes()
    assert decode(*chop(raw, places)) == decode(raw)


@pytest.mark.parametrize("name", STREAMS)
def test_a_transcript_is_repaired_in_translation(name: str) -> None:
    """No numbers, no indices, every item ended late: our own stream has all that, in order."""
    raw = RESPONSES.Encoder(SETTING).encode(decode((DATA / f"{name}.sse").read_bytes()))
    complain(raw)


def test_the_tools_of_a_transcript_keep_their_arguments() -> None:
    raw = (DATA / "llama_tools.sse").read_bytes()
    theirs = json.loads(raw.rsplit(b"\ndata: ", 1)[1])["response"]["output"]
    ours = docs(RESPONSES.Encoder(SETTING).encode(decode(raw)))[-1]["response"]["output"]
    assert [(item["call_id"], item["name"], item["arguments"]) for item in ours] == [(item["call_id"], item["name"], item["arguments"]) for item in theirs]


@pytest.mark.parametrize("name", ["llama_plain", "llama_empty"])
def test_a_plain_answer_without_most_fields(name: str) -> None:
    answer = fold(RESPONSES.read_response((DATA / f"{name}.json").read_bytes(), frozenset()))
    assert answer.finish is FinishReason.STOP
    assert answer.usage is not None
    assert len(answer.items) == (name == "llama_plain")


def test_a_refusal_of_the_backend_keeps_its_message() -> None:
    fault = RESPONSES.read_fault(400, {}, (DATA / "llama_refusal.json").read_bytes())
    assert (fault.http_status, fault.message) == (400, "llama.cpp does not support 'previous_response_id'.")


@pytest.mark.parametrize("body", bodies("codex"))
def test_codex_is_understood(body: dict[str, Any]) -> None:
    request = RESPONSES.read_request(body)
    assert {tool.namespace for tool in request.tools} == {None, "multi_agent_v1"}
    assert [tool.name for tool in request.tools if tool.kind == "hosted"] == ["web_search"]
    assert request.store is False
    assert set(request.foreign["responses"]) == {"client_metadata"}
    assert all(isinstance(item, Message | Reasoning | ToolCall | ToolResult) for item in request.items)


@pytest.mark.parametrize("body", bodies("codex"))
def test_codex_is_sent_on_as_it_came(body: dict[str, Any]) -> None:
    """A Responses backend that needs translation gets the same request, but for statuses, ids of results and nulls, which say nothing."""
    written = RESPONSES.write_request(RESPONSES.read_request(body), "other", frozenset())
    sent = json.loads(written.body)
    assert written.losses == ()
    assert sent.pop("model") == "other"
    items, theirs = sent.pop("input"), body["input"]
    assert sent == {key: value for key, value in body.items() if key not in ("model", "input")}
    for item, original in zip(items, theirs, strict=True):
        ignored = {"status", "id"} if original["type"].endswith("_output") else {"status"}
        assert {key: value for key, value in item.items() if key not in ignored} == {
            key: _without_logprobs(value) for key, value in original.items() if key not in ignored and value is not None
        }


def _without_logprobs(value: Any) -> Any:
    """Empty lists of log probabilities are not sent back."""
    if isinstance(value, list):
        return [{key: inner for key, inner in part.items() if key != "logprobs"} if isinstance(part, dict) else part for part in value]
    return value


@pytest.mark.parametrize("body", bodies("openai_python"))
def test_the_official_sdk_is_understood_or_refused_in_words(body: dict[str, Any]) -> None:
    RESPONSES.check(body)
    owned = next((key for key in ("previous_response_id", "background", "conversation") if body.get(key)), None)
    if owned is None:
        request = RESPONSES.read_request(body)
        assert RESPONSES.write_request(request, "other", frozenset()).losses == ()
        assert (request.model, request.stream) == ("kit-model", body.get("stream", False))
    else:
        with pytest.raises(FaultError) as caught:
            RESPONSES.read_request(body)
        assert caught.value.fault.param == owned
        assert caught.value.fault.http_status == 400
