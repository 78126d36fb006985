"""One item of a backend's answer: what of it was said by deltas, and what its finished document adds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from trioproxy.dialects.responses.seals import DIALECT
from trioproxy.errors import RemoteProtocolError
from trioproxy.model.events import (
    Annotated,
    ArgumentsDelta,
    Event,
    ItemClosed,
    ItemKind,
    ItemOpened,
    RefusalDelta,
    Sealed,
    TextDelta,
    ThoughtDelta,
)
from trioproxy.model.items import Seal

Doc = Mapping[str, Any]
# Item types that the canonical form knows; every other one passes whole.
KINDS: Final[Mapping[str, ItemKind]] = MappingProxyType(
    {
        "message": ItemKind.MESSAGE,
        "reasoning": ItemKind.REASONING,
        "function_call": ItemKind.FUNCTION,
        "custom_tool_call": ItemKind.CUSTOM,
    }
)


def wrong(where: str, wanted: str) -> RemoteProtocolError:
    """The backend sent something else than `wanted` at `where`."""
    return RemoteProtocolError(f"expected {wanted} as '{where}' of a Responses event")


def text_of(doc: Doc, key: str) -> str:
    """The text at `key`; null and absence are no text."""
    value = doc.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong(key, "a string")
    return value


def objects(value: Any, where: str) -> list[dict[str, Any]]:
    """The objects in a list; null is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise wrong(where, "a list of objects")
    return value


class Track:
    """One item under way.

    Attributes:
        kind: the item's type on the wire.
        order: how many items had appeared before it.
        opened: the event that opened it; None for a call whose name or id is not known yet, and for what the canonical form does not know.
    """

    def __init__(self, kind: str, id: str, order: int) -> None:
        self.kind = kind
        self.id = id
        self.order = order
        self.place: int | None = None
        self.opened: ItemOpened | None = None
        self.closed = False
        self.text: list[str] = []  # text, arguments or raw thought, as the deltas said it
        self.refusal: list[str] = []
        self.annotations = 0
        self._summary: dict[int, list[str]] = {}
        self._paragraph = 0  # the last paragraph of the summary

    @property
    def is_call(self) -> bool:
        """Whether this is a tool call of the client's."""
        return self.kind in ("function_call", "custom_tool_call")

    def fits(self, kind: str) -> bool:
        """Whether deltas of a `message`, of `reasoning` or of a `call` belong here."""
        return self.is_call if kind == "call" else self.kind == kind

    def opening(self, item: Doc, index: int) -> ItemOpened | None:
        """The event that opens this item as number `index`; None while a call lacks what it must be opened with."""
        kind = KINDS[self.kind]
        if not self.is_call:
            self.opened = ItemOpened(index, kind, item_id=self.id)
        else:
            call_id, name = text_of(item, "call_id") or self.id, text_of(item, "name")
            if not call_id or not name:
                return None
            namespace = item.get("namespace")
            self.opened = ItemOpened(index, kind, call_id, name, self.id, namespace if isinstance(namespace, str) else None)
        return self.opened

    def flush(self) -> list[Event]:
        """What deltas said before the item could be opened."""
        assert self.opened is not None
        index = self.opened.index
        return [ArgumentsDelta(index, "".join(self.text))] if self.text and self.is_call else []

    def summarise(self, part: int, text: str) -> list[Event]:
        """More of paragraph `part` of a summary; a paragraph that another has followed takes no more."""
        assert self.opened is not None
        if part < self._paragraph:
            return []
        self._paragraph = part
        self._summary.setdefault(part, []).append(text)
        return [ThoughtDelta(self.opened.index, text, True, part)]

    def finish(self, item: Doc) -> list[Event]:
        """The item is done, as `item` says. What the deltas left out follows them; what contradicts them is ignored, for it has been said."""
        if self.opened is None:
            raise RemoteProtocolError(f"a {self.kind} without a name")
        self.closed = True
        if self.is_call:
            events = self._rest_of_call(item)
        elif self.kind == "message":
            events = self._rest_of_message(item)
        else:
            events = self._rest_of_reasoning(item)
        return [*events, ItemClosed(self.opened.index, item.get("status") != "incomplete")]

    def abandon(self) -> list[Event]:
        """The stream ended and never finished this item."""
        self.closed = True
        return [] if self.opened is None else [ItemClosed(self.opened.index, False)]

    def _rest_of_call(self, item: Doc) -> list[Event]:
        assert self.opened is not None
        index = self.opened.index
        rest = tail("".join(self.text), text_of(item, "input" if self.kind == "custom_tool_call" else "arguments"))
        return [ArgumentsDelta(index, rest)] if rest else []

    def _rest_of_message(self, item: Doc) -> list[Event]:
        assert self.opened is not None
        index, texts, refusals = self.opened.index, [], []
        annotations: list[dict[str, Any]] = []
        logprobs: list[dict[str, Any]] = []
        for part in self._parts(item):
            kind = part.get("type")
            if kind == "output_text":
                texts.append(text_of(part, "text"))
                annotations += objects(part.get("annotations"), "annotations")
                logprobs += objects(part.get("logprobs"), "logprobs")
            elif kind == "refusal":
                refusals.append(text_of(part, "refusal"))
        events: list[Event] = []
        if rest := tail("".join(self.text), "".join(texts)):
            events.append(TextDelta(index, rest, () if self.text else tuple(logprobs)))
        events += [Annotated(index, annotation) for annotation in annotations[self.annotations :]]
        if rest := tail("".join(self.refusal), "".join(refusals)):
            events.append(RefusalDelta(index, rest))
        return events

    def _parts(self, item: Doc) -> list[dict[str, Any]]:
        content = item.get("content")
        return [{"type": "output_text", "text": content}] if isinstance(content, str) else objects(content, "content")

    def _rest_of_reasoning(self, item: Doc) -> list[Event]:
        assert self.opened is not None
        index = self.opened.index
        events: list[Event] = []
        for part, doc in enumerate(objects(item.get("summary"), "summary")):
            if rest := tail("".join(self._summary.get(part, ())), text_of(doc, "text")):
                events += self.summarise(part, rest)
        whole = "".join(text_of(doc, "text") for doc in objects(item.get("content"), "content"))
        if rest := tail("".join(self.text), whole):
            events.append(ThoughtDelta(index, rest))
        if sealed := text_of(item, "encrypted_content"):
            events.append(Sealed(index, Seal(DIALECT, sealed)))
        return events


def tail(said: str, whole: str) -> str:
    """What `whole` has beyond `said`; nothing, when it does not begin with it."""
    return whole[len(said) :] if len(whole) > len(said) and whole.startswith(said) else ""
