"""Tools that a backend does not know, and the way back.

A backend without custom tools is shown a function with one string, `input`; one without namespaces (and Chat knows none) is shown `namespace__name`.
The model's call then comes back under that disguise. `Restorer` takes it off again for a client that declared the tool as custom.

Rule 1: a disguise is a function of the tool's declaration alone, so no table has to survive from request to answer.
Rule 2: arguments that are not such an object are handed on as they are: a model's mistake belongs to the client, who can tell it so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
import orjson

from trioproxy.model.events import ArgumentsDelta, Event, ItemClosed, ItemKind, ItemOpened
from trioproxy.model.fold import Response
from trioproxy.model.items import Item, ToolCall

# What a custom tool looks like as a function.
CUSTOM_PARAMETERS: Final[Mapping[str, Any]] = MappingProxyType(
    {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"], "additionalProperties": False}
)


def flat_name(namespace: str | None, name: str) -> str:
    """The name of a namespaced tool for a backend that knows no namespaces."""
    return name if namespace is None else f"{namespace}__{name}"


def custom_arguments(text: str) -> str:
    """The input of a custom tool as a function's arguments."""
    return orjson.dumps({"input": text}).decode()


def custom_input(arguments: str) -> str:
    """The input of a custom tool from a function's arguments; those themselves where they are not `{"input": "…"}`."""
    try:
        doc = orjson.loads(arguments)
    except ValueError:
        return arguments
    text = doc.get("input") if isinstance(doc, dict) else None
    return text if isinstance(text, str) else arguments


class Restorer:
    """Feed it every event of one stream: calls of disguised custom tools come out as custom ones.

    Their input comes out in one piece, when the call closes: a JSON string cannot be undone character by character without reading it all.
    """

    def __init__(self, custom: Collection[str]) -> None:
        """Know the flat names of the custom tools."""
        self._custom = frozenset(custom)
        self._kept: dict[int, list[str]] = {}  # arguments of custom tools' calls that are open

    def __bool__(self) -> bool:
        """Whether there is anything to restore."""
        return bool(self._custom)

    def feed(self, events: list[Event]) -> list[Event]:
        """The events as the client should see them."""
        out: list[Event] = []
        for event in events:
            match event:
                case ItemOpened(kind=ItemKind.FUNCTION) if flat_name(event.namespace, event.name) in self._custom:
                    self._kept[event.index] = []
                    out.append(ItemOpened(event.index, ItemKind.CUSTOM, event.id, event.name, event.item_id, event.namespace))
                case ArgumentsDelta() if event.index in self._kept:
                    self._kept[event.index].append(event.text)
                case ItemClosed() if event.index in self._kept:
                    text = custom_input("".join(self._kept.pop(event.index)))
                    out += [ArgumentsDelta(event.index, text), event] if text else [event]
                case _:
                    out.append(event)
        return out

    def response(self, response: Response) -> Response:
        """The same for a whole answer."""
        return attrs.evolve(response, items=tuple(self._item(item) for item in response.items))

    def _item(self, item: Item) -> Item:
        if isinstance(item, ToolCall) and item.kind == "function" and flat_name(item.namespace, item.name) in self._custom:
            return attrs.evolve(item, kind="custom", arguments=custom_input(item.arguments))
        return item
