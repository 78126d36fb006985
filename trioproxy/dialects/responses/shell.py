"""The response object, whole, on every lifecycle event: what the client asked for, echoed, around what happened.

Rule 1: the echo (tools, instructions) is rendered once per answer, as bytes; the few fields that change are set in between. Rule 2: every field that some
validator requires is there. Rule 3: the echo is honest: `store` is false and `truncation` is `disabled`, whatever was asked, because that is what was done.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

from trioproxy.dialects.base import Setting
from trioproxy.dialects.responses.faults import failed_error
from trioproxy.model.fault import Fault
from trioproxy.model.usage import FinishReason, Usage

# Field → what it is when the client did not say.
_ECHOED: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "frequency_penalty": 0.0,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": MappingProxyType({}),
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "prompt_cache_key": None,
        "prompt_cache_retention": None,
        "safety_identifier": None,
        "temperature": 1.0,
        "tool_choice": "auto",
        "top_logprobs": 0,
        "top_p": 1.0,
        "user": None,
    }
)
_REASONS: Final[Mapping[FinishReason, bytes]] = MappingProxyType(
    {FinishReason.LENGTH: b'{"reason":"max_output_tokens"}', FinishReason.CONTENT_FILTER: b'{"reason":"content_filter"}'}
)


class Shell:
    """Renders the response object of one answer."""

    __slots__ = ("_close", "_completed_at", "_head", "_setting", "id", "model")

    def __init__(self, setting: Setting) -> None:
        self.id = "resp_" + setting.id
        self.model = setting.model
        self._setting = setting
        self._head = b'{"id":"%b","object":"response","created_at":%d,"status":"' % (self.id.encode(), setting.created)
        # No encoder has a clock: the one moment it knows is the answer's beginning.
        self._completed_at = b"%d" % setting.created
        self._close = b"," + orjson.dumps(echo(setting.doc))[1:]

    def begun(self) -> bytes:
        """The response as it begins."""
        return self._render(b"in_progress", b"null", b"null", b"null", b"[]", "auto", b"null")

    def ended(self, reason: FinishReason, items: list[bytes], usage: Usage | None, service_tier: str | None) -> tuple[bytes, bytes]:
        """How the response ended by itself: its status, and the response."""
        why = _REASONS.get(reason)
        status, completed = (b"completed", self._completed_at) if why is None else (b"incomplete", b"null")
        tier = service_tier or "default"
        return status, self._render(status, completed, b"null", why or b"null", b"[%b]" % b",".join(items), tier, usage_bytes(usage))

    def failed(self, fault: Fault, items: list[bytes], usage: Usage | None) -> bytes:
        """The response, ended by `fault`, with what had been said."""
        error = orjson.dumps(failed_error(fault))
        return self._render(b"failed", b"null", error, b"null", b"[%b]" % b",".join(items), "default", usage_bytes(usage))

    def _render(self, status: bytes, completed: bytes, error: bytes, why: bytes, output: bytes, tier: str, usage: bytes) -> bytes:
        return (
            self._head
            + status
            + b'","background":false,"completed_at":%b,"error":%b,"incomplete_details":%b,"model":%b,"output":'
            % (completed, error, why, orjson.dumps(self.model))
            + output
            + b',"service_tier":%b,"usage":%b' % (orjson.dumps(tier), usage)
            + self._close
        )


def usage_bytes(usage: Usage | None) -> bytes:
    """The `usage` of a response; null when the backend did not say."""
    if usage is None:
        return b"null"
    return (
        b'{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d,"cache_write_tokens":%d},'
        b'"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":%d},"total_tokens":%d}'
        % (usage.input, usage.cached, usage.cache_written, usage.output, usage.reasoning, usage.total)
    )


def echo(doc: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a response that repeats the request."""
    fields = {key: default if doc.get(key) is None else doc[key] for key, default in _ECHOED.items()}
    fields["metadata"] = dict(fields["metadata"])
    choice = fields["tool_choice"]
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        fields["tool_choice"] = {"mode": "auto"} | choice
    said = doc.get("reasoning") or {}
    return fields | {
        "moderation": None,
        "previous_response_id": None,
        "reasoning": said | {"effort": said.get("effort"), "summary": said.get("summary") or said.get("generate_summary")},
        "store": False,
        "text": _text(doc.get("text") or {}),
        "tools": [_tool(tool) for tool in doc.get("tools") or ()],
        "truncation": "disabled",
    }


def _text(text: Mapping[str, Any]) -> dict[str, Any]:
    form = text.get("format") or {"type": "text"}
    if form.get("type") == "json_schema":
        form = {"description": None, "strict": None} | form
    return dict(text) | {"format": form, "verbosity": text.get("verbosity") or "medium"}


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    if tool.get("type") == "function":
        return {"description": None, "parameters": None, "strict": None} | dict(tool)
    if tool.get("type") == "namespace" and isinstance(tool.get("tools"), list):
        return {"description": ""} | dict(tool) | {"tools": [_tool(inner) if isinstance(inner, dict) else inner for inner in tool["tools"]]}
    return tool
