"""Streams of Chat Completions, written short."""

from typing import Any

import orjson

from trioproxy.dialects.base import Setting
from trioproxy.dialects.chat.decoder import ChatDecoder
from trioproxy.model.events import Event
from trioproxy.model.fold import Response, fold
from trioproxy.model.grammar import complaints

DONE = b"data: [DONE]\n\n"
LIMIT = 1 << 20


def frame(doc: Any) -> bytes:
    return b"data: " + orjson.dumps(doc) + b"\n\n"


def chunk(delta: Any, reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return frame({"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [choice], **more})


def text(content: str) -> bytes:
    return chunk({"content": content})


def call(index: int | None = 0, **fields: Any) -> dict[str, Any]:
    """A delta with one piece of a tool call: `id`, `name`, `arguments`, as given."""
    inner = {key: fields[key] for key in ("name", "arguments") if key in fields}
    entry: dict[str, Any] = {"function": inner}
    if index is not None:
        entry["index"] = index
    if "id" in fields:
        entry["id"] = fields["id"]
    return {"tool_calls": [entry]}


STOP, TOOLS = chunk({}, "stop"), chunk({}, "tool_calls")


def decode(*data: bytes, quirks: frozenset[str] = frozenset(), learn: bool = True, limit: int = LIMIT) -> list[Event]:
    decoder = ChatDecoder(limit, quirks, learn=learn)
    events = [event for each in data for event in decoder.feed(each)]
    return events + decoder.finish()


def setting(**doc: Any) -> Setting:
    return Setting("0123456789abcdef0123456789abcdef", 1795336114, "shown", doc)


def told(*data: bytes, **options: Any) -> Response:
    """The folded answer of a stream that satisfies the grammar."""
    events = decode(*data, **options)
    assert complaints(events) == []
    return fold(events)
