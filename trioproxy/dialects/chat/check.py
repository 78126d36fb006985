"""The cheap check of a Chat Completions request, made on every road: shape and range of what is known, nothing deeper than the list of messages.

What is unknown passes: a pass-through backend may know it, and translation discloses it. Deep checks belong to `request_read`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trioproxy.dialects.shape import (
    ARRAY,
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    TEXT_OR_ARRAY,
    TEXT_OR_OBJECT,
    Field,
    check_body,
    check_fields,
    check_model,
    expect,
    join,
    missing,
    objects,
    wrong_type,
    wrong_value,
)

FIELDS: Final[Mapping[str, Field]] = {
    "audio": Field(OBJECT),
    "frequency_penalty": Field(NUMBER, -2, 2),
    "function_call": Field(TEXT_OR_OBJECT),
    "functions": Field(ARRAY),
    "logit_bias": Field(OBJECT),
    "logprobs": Field(BOOLEAN),
    "max_completion_tokens": Field(INTEGER, 1),
    "max_tokens": Field(INTEGER, 1),
    "metadata": Field(OBJECT),
    "modalities": Field(ARRAY),
    "n": Field(INTEGER, 1, 128),
    "parallel_tool_calls": Field(BOOLEAN),
    "prediction": Field(OBJECT),
    "presence_penalty": Field(NUMBER, -2, 2),
    "prompt_cache_key": Field(STRING),
    "reasoning_effort": Field(STRING),
    "response_format": Field(OBJECT),
    "safety_identifier": Field(STRING),
    "seed": Field(INTEGER),
    "service_tier": Field(STRING),
    "stop": Field(TEXT_OR_ARRAY),
    "store": Field(BOOLEAN),
    "stream": Field(BOOLEAN),
    "stream_options": Field(OBJECT),
    "temperature": Field(NUMBER, 0, 2),
    "tool_choice": Field(TEXT_OR_OBJECT),
    "top_logprobs": Field(INTEGER, 0, 20),
    "top_p": Field(NUMBER, 0, 1),
    "user": Field(STRING),
    "verbosity": Field(STRING, words=frozenset({"low", "medium", "high"})),
    "web_search_options": Field(OBJECT),
}


def check(doc: dict[str, Any]) -> None:
    """Check the shape of a request.

    Raises:
        FaultError: with the path of what is wrong.
    """
    check_body(doc)
    check_model(doc)
    check_fields(doc, FIELDS)
    if doc.get("messages") is None:
        raise missing("messages")
    messages = expect(doc["messages"], ARRAY, "messages")
    if not messages:
        raise wrong_value("messages", "at least one message")
    for index, message in enumerate(messages):
        if type(message) is not dict or type(message.get("role")) is not str or type(message.get("content")) not in _CONTENT:
            raise _bad_message(message, join("messages", index))
    if doc.get("tools") is not None:
        objects(expect(doc["tools"], ARRAY, "tools"), "tools")


_CONTENT: Final = frozenset({str, list, type(None)})


def _bad_message(message: Any, path: str) -> Exception:
    if type(message) is not dict:
        return wrong_type(path, "an object", message)
    if message.get("role") is None:
        return missing(join(path, "role"))
    if type(message["role"]) is not str:
        return wrong_type(join(path, "role"), "a string", message["role"])
    return wrong_type(join(path, "content"), "a string, an array or null", message.get("content"))
