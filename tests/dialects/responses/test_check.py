"""The shape check of a request: what passes on every road, and what is refused with its path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioproxy.dialects.base import Setting
from trioproxy.dialects.responses import RESPONSES
from trioproxy.errors import FaultError
from trioproxy.model.events import Finished, Started
from trioproxy.model.fault import FaultKind
from trioproxy.model.usage import FinishReason
from trioproxy.testing.order import check_responses_stream

BASE: dict[str, Any] = {"model": "m", "input": "x"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stream": None, "temperature": 0, "top_p": 1.0, "max_output_tokens": 1, "tools": []},
        {"client_metadata": {"a": 1}, "something_new": [1]},
        {"input": [{"role": "user", "content": "x"}, {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}]},
        {"input": [{"type": "reasoning", "summary": [], "content": None}, {"id": "msg_1"}, {"type": "something_new"}]},
        {"input": [{"type": "additional_tools", "role": "developer", "tools": []}]},
        {"input": None, "previous_response_id": "resp_1"},
        {"input": [], "conversation": "conv_1"},
        {"input": None, "prompt": {"id": "p"}},
        {"tools": [{"type": "web_search"}, {"type": "namespace", "name": "n", "tools": []}]},
        {"metadata": {str(index): "v" * 512 for index in range(16)}},
    ],
)
def test_it_passes(fields: dict[str, Any]) -> None:
    RESPONSES.check(BASE | fields)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": None}, "model", "missing_required_parameter"),
        ({"model": ""}, "model", "invalid_value"),
        ({"model": "a b"}, "model", "invalid_value"),
        ({"model": "x" * 257}, "model", "invalid_value"),
        ({"model": 7}, "model", "invalid_type"),
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": 7}, "input", "invalid_type"),
        ({"input": ["x"]}, "input[0]", "invalid_type"),
        ({"input": [{}]}, "input[0].type", "missing_required_parameter"),
        ({"input": [{"type": 7}]}, "input[0].type", "invalid_type"),
        ({"input": [{"role": 7, "content": "x"}]}, "input[0].role", "invalid_type"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        ({"input": [{"role": "user", "content": None}]}, "input[0].content", "invalid_type"),
        ({"input": [{"role": "user", "content": 7}]}, "input[0].content", "invalid_type"),
        ({"input": [{"role": "user", "content": [7]}]}, "input[0].content[0]", "invalid_type"),
        ({"input": [{"role": "user", "content": [{}]}]}, "input[0].content[0].type", "missing_required_parameter"),
        ({"input": [{"role": "user", "content": [{"type": 7}]}]}, "input[0].content[0].type", "invalid_type"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream": 1}, "stream", "invalid_type"),
        ({"temperature": 2.1}, "temperature", "invalid_value"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"top_p": -0.1}, "top_p", "invalid_value"),
        ({"top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
        ({"max_output_tokens": 1.5}, "max_output_tokens", "invalid_type"),
        ({"truncation": "sometimes"}, "truncation", "invalid_value"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"tools": ["x"]}, "tools[0]", "invalid_type"),
        ({"tools": [{}]}, "tools[0].type", "missing_required_parameter"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_required_parameter"),
        ({"tools": [{"type": "function", "name": 7}]}, "tools[0].name", "invalid_type"),
        ({"tool_choice": 7}, "tool_choice", "invalid_type"),
        ({"reasoning": {"effort": 7}}, "reasoning.effort", "invalid_type"),
        ({"text": {"format": "json"}}, "text.format", "invalid_type"),
        ({"include": [7]}, "include[0]", "invalid_type"),
        ({"metadata": {"k": 7}}, "metadata.k", "invalid_type"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "invalid_value"),
        ({"metadata": {"k" * 65: "v"}}, "metadata", "invalid_value"),
        ({"metadata": {str(index): "v" for index in range(17)}}, "metadata", "invalid_value"),
        ({"safety_identifier": "x" * 129}, "safety_identifier", "invalid_value"),
    ],
)
def test_it_is_refused(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(FaultError) as caught:
        RESPONSES.check(BASE | fields)
    fault = caught.value.fault
    assert (fault.kind, fault.param, fault.code, fault.http_status) == (FaultKind.INVALID, param, code, 400)


KEYS = ["type", "role", "content", "id", "name", "text", "tools", "call_id", "output", "summary", "format", "mode", "key"]
WORDS = ["message", "user", "function", "namespace", "function_call", "function_call_output", "reasoning", "input_text", "allowed_tools", "json_schema", "x"]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 3), st.floats(0, 2), st.sampled_from(WORDS)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["input", "tools", "tool_choice", "text", "reasoning", "include", "metadata", "stream", "stream_options", "prompt", "instructions", "store", "image"]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_no_request_crashes_the_reader_or_the_writer(fields: dict[str, Any]) -> None:
    """A request is understood or refused as the client's fault, with the parameter at fault."""
    fault = None
    try:
        RESPONSES.check(BASE | fields)  # as whoever reads a request does
        request = RESPONSES.read_request(BASE | fields)
        RESPONSES.write_request(request, "m", frozenset())
    except FaultError as exc:
        fault = exc.fault
    assert fault is None or (fault.http_status == 400 and fault.param is not None)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_no_request_that_was_checked_crashes_the_echo(fields: dict[str, Any]) -> None:
    try:
        RESPONSES.check(BASE | fields)
    except FaultError:
        return
    raw = RESPONSES.Encoder(Setting("0" * 32, 0, "m", BASE | fields)).encode([Started(), Finished(FinishReason.STOP)])
    assert check_responses_stream(raw) == []
