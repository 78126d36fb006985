"""Overlapping items → one after another, for dialects in which only one item may be open.

The first open item flows; events of later ones are kept until it closes, then they follow in the order of their indices. Nothing is lost, doubled or
reordered within an item.
"""

from __future__ import annotations

from trioproxy.model.events import Event, Failed, Finished, Foreign, ItemClosed, ItemOpened, Metered, Started


class Sequencer:
    """Feed it every event of one stream; it returns them in sequential order."""

    __slots__ = ("_current", "_kept")

    def __init__(self) -> None:
        self._current: int | None = None
        self._kept: dict[int, list[Event]] = {}  # per later item, in the order of opening

    @property
    def overlapping(self) -> bool:
        """True while something is kept."""
        return bool(self._kept)

    def feed(self, events: list[Event]) -> list[Event]:
        """The events that may go out now."""
        out: list[Event] = []
        for event in events:
            self._take(event, out)
        return out

    def _take(self, event: Event, out: list[Event]) -> None:
        if isinstance(event, Started | Metered):
            out.append(event)
        elif isinstance(event, Finished | Failed):
            self._drain(out)
            out.append(event)
        elif self._current is None or event.index == self._current:
            self._pass(event, out)
        else:
            self._kept.setdefault(event.index, []).append(event)

    def _pass(self, event: Event, out: list[Event]) -> None:
        out.append(event)
        if isinstance(event, ItemOpened):
            self._current = event.index
        elif isinstance(event, ItemClosed):
            self._current = None
            self._advance(out)
        else:
            assert not isinstance(event, Foreign) or self._current is None

    def _advance(self, out: list[Event]) -> None:
        """The current item has closed: let kept ones follow, up to one that is still open."""
        while self._current is None and self._kept:
            index = next(iter(self._kept))
            events = self._kept.pop(index)
            out.extend(events)
            if not isinstance(events[-1], ItemClosed | Foreign):
                self._current = index

    def _drain(self, out: list[Event]) -> None:
        """The stream ends while items are open (a fault): each is closed as far as it came, and the kept ones follow."""
        if self._current is not None:
            out.append(ItemClosed(self._current, complete=False))
            self._current = None
        for index, events in self._kept.items():
            out.extend(events)
            if not isinstance(events[-1], ItemClosed | Foreign):
                out.append(ItemClosed(index, complete=False))
        self._kept.clear()
