"""Requests, written short, and what is sent for them."""

from typing import Any

import attrs
import orjson
import pytest

from trioproxy.dialects.chat import CHAT
from trioproxy.errors import FaultError
from trioproxy.model.items import (
    Item,
    Message,
    Part,
    Text,
    ToolResult,
)
from trioproxy.model.request import Request

HI = Message("user", (Text("Hi"),))
BASE = Request.of("m", "Hi")


def write(request: Request = BASE, *quirks: str, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    written = CHAT.write_request(attrs.evolve(request, **fields), "target", frozenset(quirks))
    return orjson.loads(written.body), written.losses


def body(*quirks: str, **fields: Any) -> dict[str, Any]:
    """The body, where nothing may be lost."""
    doc, losses = write(BASE, *quirks, **fields)
    assert losses == ()
    return doc


def messages(*items: Item, quirks: tuple[str, ...] = (), losses: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    doc, lost = write(BASE, *quirks, items=items)
    assert lost == losses
    found: list[dict[str, Any]] = doc["messages"]
    return found


def refused(*quirks: str, **fields: Any) -> tuple[str | None, str | None]:
    with pytest.raises(FaultError) as caught:
        write(BASE, *quirks, **fields)
    return caught.value.fault.param, caught.value.fault.code


def user(*parts: Part) -> Message:
    return Message("user", parts)


def said(text: str) -> Message:
    return Message("assistant", (Text(text),))


def result(call_id: str, text: str) -> ToolResult:
    return ToolResult(call_id, (Text(text),))


def entry(call_id: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
