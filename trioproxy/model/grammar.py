"""The order of events, as a table.

    Started (ItemOpened body* ItemClosed | Foreign)* Metered* (Finished | Failed)

Items may overlap; an index is used once and only grows; a body fits the kind of its item; a reasoning summary's paragraphs only grow; `Metered` may come
anywhere after `Started`; `Failed` may come at any time and leaves items open; `Finished` needs every item closed. Anything absent from BODIES is illegal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from trioproxy.model.events import (
    Annotated,
    ArgumentsDelta,
    Event,
    Failed,
    Finished,
    Foreign,
    ItemClosed,
    ItemKind,
    ItemOpened,
    Metered,
    RefusalDelta,
    Sealed,
    Started,
    TextDelta,
    ThoughtDelta,
)

BODIES: Final[Mapping[ItemKind, frozenset[type]]] = MappingProxyType(
    {
        ItemKind.MESSAGE: frozenset({TextDelta, RefusalDelta, Annotated}),
        ItemKind.REASONING: frozenset({ThoughtDelta, Sealed}),
        ItemKind.FUNCTION: frozenset({ArgumentsDelta}),
        ItemKind.CUSTOM: frozenset({ArgumentsDelta}),
    }
)


class Grammar:
    """Checks one stream, event by event. `check` returns the sentence that was broken, or None."""

    def __init__(self) -> None:
        self.started = False
        self.ended = False
        self._open: dict[int, ItemKind] = {}
        self._parts: dict[int, int] = {}
        self._last = -1

    def check(self, event: Event) -> str | None:
        """Take the next event."""
        if self.ended:
            return f"{type(event).__name__} after the end"
        if isinstance(event, Started):
            if self.started:
                return "Started twice"
            self.started = True
            return None
        if isinstance(event, Failed):
            self.ended = True
            return None
        if not self.started:
            return f"{type(event).__name__} before Started"
        return self._check_inside(event)

    def _check_inside(self, event: Event) -> str | None:
        match event:
            case ItemOpened() | Foreign():
                return self._check_opening(event)
            case ItemClosed():
                if self._open.pop(event.index, None) is None:
                    return f"ItemClosed of item {event.index}, which is not open"
            case Finished():
                self.ended = True
                if self._open:
                    return f"Finished while items {sorted(self._open)} are open"
            case Metered() | Started() | Failed():
                pass
            case _:
                return self._check_body(event)
        return None

    def _check_opening(self, event: ItemOpened | Foreign) -> str | None:
        if event.index <= self._last:
            return f"item {event.index} opened after item {self._last}"
        self._last = event.index
        if isinstance(event, Foreign):
            return None
        self._open[event.index] = event.kind
        if event.kind in (ItemKind.FUNCTION, ItemKind.CUSTOM) and not (event.id and event.name):
            return f"tool call {event.index} opened without id or name"
        return None

    def _check_body(self, event: TextDelta | RefusalDelta | ThoughtDelta | ArgumentsDelta | Sealed | Annotated) -> str | None:
        kind = self._open.get(event.index)
        if kind is None:
            return f"{type(event).__name__} of item {event.index}, which is not open"
        if type(event) not in BODIES[kind]:
            return f"{type(event).__name__} in a {kind.value} item"
        if isinstance(event, ThoughtDelta) and event.summary:
            if event.part < self._parts.get(event.index, 0):
                return f"summary paragraph {event.part} after a later one"
            self._parts[event.index] = event.part
        return None


def complaints(events: Iterable[Event], *, whole: bool = True) -> list[str]:
    """Every sentence that `events` break; a whole stream must also have ended."""
    grammar = Grammar()
    found = [complaint for event in events if (complaint := grammar.check(event))]
    if whole and not grammar.ended:
        found.append("no end")
    return found
