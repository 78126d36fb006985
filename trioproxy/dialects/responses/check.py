"""The cheap check of a request's shape, made on every road, pass-through included.

Rule 1: only types, ranges and what must be there; meaning is read where a request is translated. Rule 2: what the table does not know passes, because
clients send undocumented fields (Codex's `client_metadata`) and the API grows every week; so do unknown kinds of items, parts and tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
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

FIELDS: Final[Mapping[str, Field]] = MappingProxyType(
    {
        "input": Field(TEXT_OR_ARRAY),
        "instructions": Field(STRING),
        "previous_response_id": Field(STRING),
        "conversation": Field(TEXT_OR_OBJECT),
        "store": Field(BOOLEAN),
        "background": Field(BOOLEAN),
        "background_options": Field(OBJECT),
        "stream": Field(BOOLEAN),
        "stream_options": Field(OBJECT),
        "include": Field(ARRAY),
        # The API says at least 16; smaller caps are of use with other backends, and those that mind refuse by themselves.
        "max_output_tokens": Field(INTEGER, 1),
        "max_tool_calls": Field(INTEGER, 1),
        "metadata": Field(OBJECT),
        "moderation": Field(OBJECT),
        "parallel_tool_calls": Field(BOOLEAN),
        "prompt": Field(OBJECT),
        "prompt_cache_key": Field(STRING),
        "prompt_cache_options": Field(OBJECT),
        "prompt_cache_retention": Field(STRING),
        "reasoning": Field(OBJECT),
        "safety_identifier": Field(STRING),
        "service_tier": Field(STRING),
        "temperature": Field(NUMBER, 0, 2),
        "top_p": Field(NUMBER, 0, 1),
        "top_logprobs": Field(INTEGER, 0, 20),
        "presence_penalty": Field(NUMBER, -2, 2),
        "frequency_penalty": Field(NUMBER, -2, 2),
        "text": Field(OBJECT),
        "tool_choice": Field(TEXT_OR_OBJECT),
        "tools": Field(ARRAY),
        "truncation": Field(STRING, words=frozenset({"auto", "disabled"})),
        "context_management": Field(ARRAY),
        "image": Field(OBJECT),
        "access_programs": Field(OBJECT),
        "user": Field(STRING),
    }
)
REASONING: Final[Mapping[str, Field]] = MappingProxyType({"effort": Field(STRING), "summary": Field(STRING), "generate_summary": Field(STRING)})
TEXT: Final[Mapping[str, Field]] = MappingProxyType({"format": Field(OBJECT), "verbosity": Field(STRING)})
# What may stand in for `input`.
_CONTEXTS: Final = ("previous_response_id", "prompt", "conversation")
_PAIRS, _KEY, _VALUE, _SAFETY = 16, 64, 512, 128  # the API's limits: pairs of metadata, characters of a key, of a value, of a safety identifier


def check(doc: dict[str, Any]) -> None:
    """Check the shape of a request for `POST /responses`.

    Raises:
        FaultError: with the path of the parameter at fault.
    """
    check_body(doc)
    check_model(doc)
    check_fields(doc, FIELDS)
    _check_input(doc)
    for key, fields in (("reasoning", REASONING), ("text", TEXT)):
        if doc.get(key) is not None:
            check_fields(doc[key], fields, key)
    if doc.get("tools"):
        _check_tools(doc["tools"])
    if doc.get("metadata"):
        _check_metadata(doc["metadata"])
    if len(doc.get("safety_identifier") or "") > _SAFETY:
        raise wrong_value("safety_identifier", f"at most {_SAFETY} characters")
    for index, each in enumerate(doc.get("include") or ()):
        expect(each, STRING, join("include", index))


def _check_input(doc: Mapping[str, Any]) -> None:
    items = doc.get("input")
    if items is None:
        if not any(doc.get(key) for key in _CONTEXTS):
            raise missing("input")
        return
    if isinstance(items, list):
        if not items and not any(doc.get(key) for key in _CONTEXTS):
            raise wrong_value("input", "a string or a list with at least one item")
        for index, item in enumerate(objects(items, "input")):
            _check_item(item, join("input", index))


def _check_item(item: Mapping[str, Any], path: str) -> None:
    kind = item.get("type")
    if kind is None:
        if "role" not in item and "id" not in item:
            raise missing(join(path, "type"))
    elif type(kind) is not str:
        raise wrong_type(join(path, "type"), "a string", kind)
    role = item.get("role")
    if role is not None and type(role) is not str:
        raise wrong_type(join(path, "role"), "a string", role)
    content = item.get("content")
    if content is None:
        if kind == "message" or role is not None:
            _check_without_content(item, kind, path)
    elif type(content) is list:
        for index, part in enumerate(objects(content, join(path, "content"))):
            if type(part.get("type")) is not str:
                _complain_of_part(part, join(join(path, "content"), index))
    elif type(content) is not str:
        raise wrong_type(join(path, "content"), "a string or an array", content)


def _check_without_content(item: Mapping[str, Any], kind: str | None, path: str) -> None:
    """Only a message must have content; a role may belong to another kind (`additional_tools`)."""
    if kind not in (None, "message"):
        return
    if "content" in item:
        raise wrong_type(join(path, "content"), "a string or an array", None)
    raise missing(join(path, "content"))


def _complain_of_part(part: Mapping[str, Any], path: str) -> None:
    if "type" not in part:
        raise missing(join(path, "type"))
    raise wrong_type(join(path, "type"), "a string", part["type"])


def _check_tools(tools: list[Any]) -> None:
    for index, tool in enumerate(objects(tools, "tools")):
        path = join("tools", index)
        if "type" not in tool:
            raise missing(join(path, "type"))
        kind = expect(tool["type"], STRING, join(path, "type"))
        if kind in ("function", "custom", "namespace") and type(tool.get("name")) is not str:
            if "name" not in tool:
                raise missing(join(path, "name"))
            raise wrong_type(join(path, "name"), "a string", tool["name"])


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    if len(metadata) > _PAIRS:
        raise wrong_value("metadata", f"at most {_PAIRS} pairs")
    for key, value in metadata.items():
        if len(key) > _KEY:
            raise wrong_value("metadata", f"keys of at most {_KEY} characters")
        if len(expect(value, STRING, join("metadata", key))) > _VALUE:
            raise wrong_value(join("metadata", key), f"at most {_VALUE} characters")
