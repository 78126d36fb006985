"""What tools the client declared, and under what name a backend without namespaces or custom tools will call them.

Rule 1: a backend that knows no namespaces calls `ns__name`; the client sees its own two names again. Rule 2: a backend that knows no custom tools calls a
function with `{"input": "…"}`; the client sees its custom tool and the text within. Rule 3: a name that the client declared as it stands wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import orjson

from trioproxy.model.events import ItemKind


@attrs.frozen
class Called:
    """A tool call as the client is to see it. `wrapped`: the arguments are a function's and hold a custom tool's input."""

    kind: ItemKind
    name: str
    namespace: str | None
    wrapped: bool = False


class Declared:
    """The tools in `tools` of a request."""

    __slots__ = ("_flat", "_kinds", "_tools")

    def __init__(self, doc: Mapping[str, Any]) -> None:
        self._tools: Any = doc.get("tools")  # None once they were read, for the first call: most answers have none
        self._kinds: dict[tuple[str | None, str], str] = {}
        self._flat: dict[str, tuple[str, str]] = {}

    def _read(self) -> None:
        tools, self._tools = self._tools, None
        for tool in _objects(tools):
            if tool.get("type") == "namespace":
                self._add_namespace(tool)
            else:
                self._add(None, tool)

    def _add_namespace(self, namespace: Mapping[str, Any]) -> None:
        outer = namespace.get("name")
        if isinstance(outer, str):
            for tool in _objects(namespace.get("tools")):
                self._add(outer, tool)

    def _add(self, namespace: str | None, tool: Mapping[str, Any]) -> None:
        kind, name = tool.get("type"), tool.get("name")
        if isinstance(kind, str) and isinstance(name, str):
            self._kinds[namespace, name] = kind
            if namespace is not None:
                self._flat.setdefault(f"{namespace}__{name}", (namespace, name))

    def called(self, kind: ItemKind, name: str, namespace: str | None) -> Called:
        """How the client is to see a call of `name`."""
        if self._tools is not None:
            self._read()
        if namespace is None and (None, name) not in self._kinds and name in self._flat:
            namespace, name = self._flat[name]
        if kind is ItemKind.FUNCTION and self._kinds.get((namespace, name)) == "custom":
            return Called(ItemKind.CUSTOM, name, namespace, True)
        return Called(kind, name, namespace)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def unwrap(arguments: str) -> str:
    """The input within a function's `{"input": "…"}`; arguments of another shape, or cut ones, are the input themselves."""
    try:
        doc = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    value = doc.get("input") if isinstance(doc, dict) else None
    return value if isinstance(value, str) else arguments
