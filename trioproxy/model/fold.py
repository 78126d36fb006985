"""Events → the whole answer: for plain answers, for the store, for hooks."""

from __future__ import annotations

from typing import Any

import attrs

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
from trioproxy.model.fault import Fault
from trioproxy.model.items import ForeignItem, Item, Message, Part, Reasoning, Refusal, Seal, Text, ToolCall
from trioproxy.model.usage import FinishReason, Usage


@attrs.frozen
class Response:
    """A whole answer. Exactly one of `finish` and `fault` is set; with a fault, `items` is what had been said."""

    id: str = ""
    model: str = ""
    created: int = 0
    items: tuple[Item, ...] = ()
    usage: Usage | None = None
    finish: FinishReason | None = None
    fault: Fault | None = None
    service_tier: str | None = None


@attrs.define(eq=False)
class _Draft:
    opened: ItemOpened
    texts: list[str] = attrs.field(factory=list)
    refusals: list[str] = attrs.field(factory=list)
    summary: dict[int, list[str]] = attrs.field(factory=dict)
    annotations: list[Any] = attrs.field(factory=list)
    logprobs: list[Any] = attrs.field(factory=list)
    seal: Seal | None = None
    complete: bool = False

    def item(self) -> Item:
        opened, text = self.opened, "".join(self.texts)
        item_id = opened.item_id or None
        if opened.kind is ItemKind.MESSAGE:
            parts: list[Part] = []
            if self.texts or self.annotations:
                parts.append(Text(text, tuple(self.annotations), tuple(self.logprobs)))
            if self.refusals:
                parts.append(Refusal("".join(self.refusals)))
            return Message("assistant", tuple(parts), item_id, self.complete)
        if opened.kind is ItemKind.REASONING:
            summary = tuple("".join(self.summary[part]) for part in sorted(self.summary))
            return Reasoning(text, summary, self.seal, item_id, self.complete)
        return ToolCall(opened.id, opened.name, text, opened.kind.value, opened.namespace, item_id, self.complete)


def fold(events: list[Event]) -> Response:
    """Make the answer that grammatical `events` tell.

    Items that no `ItemClosed` ended are incomplete. A list without an end folds to a Response with neither finish nor fault; nobody may present it as whole.
    """
    drafts: dict[int, _Draft | ForeignItem] = {}
    started, usage, finish, fault, tier = Started(), None, None, None, None
    for event in events:
        match event:
            case ItemOpened():
                drafts[event.index] = _Draft(event)
            case Foreign():
                drafts[event.index] = ForeignItem(event.dialect, event.doc)
            case Started():
                started = event
            case Metered():
                usage = event.usage
            case Finished():
                finish, tier = event.reason, event.service_tier
            case Failed():
                fault = event.fault
            case _:
                _grow(drafts[event.index], event)
    items = tuple(draft if isinstance(draft, ForeignItem) else draft.item() for _, draft in sorted(drafts.items()))
    return Response(started.id, started.model, started.created, items, usage, finish, fault, tier)


def _grow(draft: _Draft | ForeignItem, event: Event) -> None:
    assert isinstance(draft, _Draft)
    match event:
        case TextDelta():
            draft.texts.append(event.text)
            draft.logprobs.extend(event.logprobs)
        case ArgumentsDelta():
            draft.texts.append(event.text)
        case RefusalDelta():
            draft.refusals.append(event.text)
        case ThoughtDelta():
            (draft.summary.setdefault(event.part, []) if event.summary else draft.texts).append(event.text)
        case Annotated():
            draft.annotations.append(event.annotation)
        case Sealed():
            draft.seal = event.seal
        case ItemClosed():
            draft.complete = event.complete


def unfold(response: Response) -> list[Event]:
    """Events of a whole answer, one delta a part: `fold(unfold(r)) == r` for a Response made of what a model can say."""
    events: list[Event] = [Started(response.id, response.model, response.created)]
    for index, item in enumerate(response.items):
        events += _unfold_item(index, item)
    if response.usage is not None:
        events.append(Metered(response.usage))
    if response.fault is not None:
        events.append(Failed(response.fault))
    elif response.finish is not None:
        events.append(Finished(response.finish, response.service_tier))
    return events


def _unfold_item(index: int, item: Item) -> list[Event]:
    match item:
        case ForeignItem():
            return [Foreign(index, item.dialect, item.doc)]
        case Message():
            opened = ItemOpened(index, ItemKind.MESSAGE, item_id=item.id or "")
            body = [event for part in item.parts for event in _unfold_part(index, part)]
        case ToolCall():
            opened = ItemOpened(index, ItemKind(item.kind), item.id, item.name, item.item_id or "", item.namespace)
            body = [ArgumentsDelta(index, item.arguments)] if item.arguments else []
        case Reasoning():
            opened = ItemOpened(index, ItemKind.REASONING, item_id=item.id or "")
            body = [ThoughtDelta(index, text, True, part) for part, text in enumerate(item.summary)]
            if item.text:
                body.append(ThoughtDelta(index, item.text))
            if item.seal is not None:
                body.append(Sealed(index, item.seal))
        case _:
            raise TypeError(f"a model does not say a {type(item).__name__}")
    return [opened, *body, ItemClosed(index, item.complete)]


def _unfold_part(index: int, part: Part) -> list[Event]:
    match part:
        case Text():
            text: list[Event] = [TextDelta(index, part.text, part.logprobs)]
            return text + [Annotated(index, annotation) for annotation in part.annotations]
        case Refusal():
            return [RefusalDelta(index, part.text)]
        case _:
            raise TypeError(f"a model does not say a {type(part).__name__}")
