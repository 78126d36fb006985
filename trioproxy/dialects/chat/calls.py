"""One tool call in the making, and which of several a delta continues.

Rule 1: a call is opened when its id and its name are known; until then its arguments are kept. Rule 2: an id that never comes is made up when the call has
to open, from the item's number, so that the same bytes always give the same id. Rule 3: ids differ within an answer.

Deviations seen: no `index`; the name or the id repeated in every delta, or the id empty; arguments as an object; the whole call sent once more at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import orjson

from trioproxy.errors import RemoteProtocolError
from trioproxy.framing.json import BadJson, dumps
from trioproxy.model.events import ItemKind

EMPTY: Final[Mapping[str, Any]] = {}


@attrs.define(eq=False)
class Call:
    """One call.

    Attributes:
        index: the item's number once it is open, else None.
        pieces: the arguments so far; `sent` of them were handed on.
    """

    kind: ItemKind
    id: str = ""
    name: str = ""
    index: int | None = None
    pieces: list[str] = attrs.field(factory=list)
    sent: int = 0
    closed: bool = False

    @property
    def ready(self) -> bool:
        """Whether it may open without anything made up."""
        return bool(self.id and self.name)

    @property
    def complete(self) -> bool:
        """Whether the arguments are a whole JSON object; a custom tool's free text never shows it."""
        if self.kind is ItemKind.CUSTOM:
            return False
        try:
            return type(orjson.loads("".join(self.pieces))) is dict
        except ValueError:
            return False

    def repeats(self, text: str) -> bool:
        """Whether `text` is all of the arguments once more, and not their continuation."""
        return len(text) > 1 and "".join(self.pieces) == text and self.complete


@attrs.frozen
class Piece:
    """What one delta says of a call. `index` is None where the backend left it out."""

    index: int | None
    id: str
    name: str
    text: str
    kind: ItemKind


def read_piece(entry: Any) -> Piece:
    """Read one entry of `delta.tool_calls`.

    Raises:
        RemoteProtocolError: it is not of a shape that can be understood.
    """
    if type(entry) is not dict:
        raise RemoteProtocolError("a tool call is no object")
    custom = entry.get("type") == "custom" or type(entry.get("custom")) is dict
    inner = entry.get("custom" if custom else "function")
    if inner is None:
        inner = EMPTY
    elif type(inner) is not dict:
        raise RemoteProtocolError("a tool call's function is no object")
    index = entry.get("index")
    text = _read_text(inner.get("input" if custom else "arguments"))
    kind = ItemKind.CUSTOM if custom else ItemKind.FUNCTION
    return Piece(index if type(index) is int else None, _read_word(entry.get("id")), _read_word(inner.get("name")), text, kind)


def _read_word(value: Any) -> str:
    if value is None:
        return ""
    if type(value) not in (str, int):
        raise RemoteProtocolError("a tool call's id or name is no string")
    return str(value)


def _read_text(value: Any) -> str:
    if value is None:
        return ""
    if type(value) is str:
        return value
    if type(value) is dict:
        return render(value)
    raise RemoteProtocolError("a tool call's arguments are neither text nor an object")


def render(value: Any) -> str:
    """JSON text of what a backend sent as JSON.

    Raises:
        RemoteProtocolError: it is nested too deep.
    """
    try:
        return dumps(value).decode()
    except BadJson as exc:
        raise RemoteProtocolError(str(exc)) from exc


class Calls:
    """The calls of one answer, in the order in which they came."""

    __slots__ = ("_by_index", "_ids", "_last", "all")

    def __init__(self) -> None:
        self.all: list[Call] = []
        self._by_index: dict[int, Call] = {}
        self._last: Call | None = None
        self._ids: set[str] = set()

    def find(self, piece: Piece) -> tuple[Call, bool]:
        """The call that `piece` belongs to, and whether it is new."""
        call = self._by_index.get(piece.index) if piece.index is not None else self._guess(piece)
        new = call is None or (piece.index is not None and _begins_another(call, piece))
        if call is None or new:
            call = Call(piece.kind)
            self.all.append(call)
        if piece.index is not None:
            self._by_index[piece.index] = call
        self._last = call
        # The first id and the first name count: a server that repeats them says the same, one that invents a new id each time says nothing.
        if not call.id and piece.id and call.index is None:
            call.id = piece.id
        if not call.name:
            call.name = piece.name
        return call, new

    def _guess(self, piece: Piece) -> Call | None:
        """Without an index: the call with that id, else the last one, unless a new name after whole arguments (or another name) begins the next."""
        if piece.id:
            known = next((call for call in self.all if call.id == piece.id), None)
            if known is not None:
                return known
            last = self._last
            return last if last is not None and not last.id and not last.complete and (not piece.name or not last.name) else None
        last = self._last
        if last is None or not piece.name or not last.name:
            return last
        return None if last.name != piece.name or last.complete else last

    def name_id(self, call: Call, number: int) -> str:
        """The id under which `call` opens as item `number`: its own, made up where it has none, made different where it was used before."""
        base = call.id or f"call_{number}"
        call_id, copy = base, 1
        while call_id in self._ids:
            copy += 1
            call_id = f"{base}_{copy}"
        self._ids.add(call_id)
        return call_id


def _begins_another(call: Call, piece: Piece) -> bool:
    """Whether a delta with the index of `call` is another call: a server that numbers every call 0 tells them apart by id and name alone."""
    return bool(piece.id and piece.name and call.id and piece.id != call.id and call.complete)
