"""Any answer, through our encoder and back through our decoder, is the same answer as far as Chat can tell it."""

from itertools import pairwise
from typing import Any

import attrs
import orjson
from hypothesis import HealthCheck, given, settings

from tests.dialects.chat.frames import LIMIT, decode, setting
from trioproxy.dialects.chat import CHAT
from trioproxy.dialects.chat.encoder import ChatEncoder
from trioproxy.model.events import (
    Annotated,
    ArgumentsDelta,
    Event,
    ItemKind,
    ItemOpened,
    RefusalDelta,
    Started,
    TextDelta,
    ThoughtDelta,
)
from trioproxy.model.fold import Response, fold, unfold
from trioproxy.model.grammar import complaints
from trioproxy.model.items import Item, Message, Reasoning, Refusal, Text, ToolCall
from trioproxy.model.usage import FinishReason, Usage
from trioproxy.testing.strategies import answers, chop, cuts

Spoken = Message | Reasoning | ToolCall


class Ear:
    """What somebody hears who knows only the order of words: texts that follow each other are one message, thoughts one thought, a call is itself."""

    def __init__(self) -> None:
        self.items: list[Spoken] = []
        self.calls: dict[int, int] = {}  # item → place in `items`
        self.current: type | None = None
        self.place = 0  # of the current message or thought
        self.part: tuple[int, int] | None = None

    def hear(self, event: Event) -> None:
        if isinstance(event, ItemOpened) and event.kind in (ItemKind.FUNCTION, ItemKind.CUSTOM):
            name = event.name if event.namespace is None else f"{event.namespace}__{event.name}"
            self.current = None
            self.calls[event.index] = len(self.items)
            self.items.append(ToolCall(event.id, name, "", event.kind.value))
        elif isinstance(event, ArgumentsDelta):
            call = self.items[self.calls[event.index]]
            assert isinstance(call, ToolCall)
            self.items[self.calls[event.index]] = attrs.evolve(call, arguments=call.arguments + event.text)
        elif isinstance(event, ThoughtDelta):
            self.think(event)
        elif isinstance(event, TextDelta | RefusalDelta | Annotated):
            self.say(event)

    def turn_to(self, kind: type, fresh: Spoken) -> Spoken:
        if self.current is not kind:
            self.current, self.place = kind, len(self.items)
            self.items.append(fresh)
        return self.items[self.place]

    def think(self, event: ThoughtDelta) -> None:
        text = event.text
        if event.summary:
            if self.part is not None and self.part[0] == event.index and self.part[1] != event.part:
                text = "\n\n" + text
            self.part = (event.index, event.part)
        thought = self.turn_to(Reasoning, Reasoning())
        assert isinstance(thought, Reasoning)
        self.items[self.place] = attrs.evolve(thought, text=thought.text + text)

    def say(self, event: TextDelta | RefusalDelta | Annotated) -> None:
        message = self.turn_to(Message, Message("assistant", (Text(""), Refusal(""))))
        assert isinstance(message, Message)
        text, refusal = message.parts
        assert isinstance(text, Text)
        assert isinstance(refusal, Refusal)
        if isinstance(event, TextDelta):
            text = attrs.evolve(text, text=text.text + event.text)
        elif isinstance(event, Annotated):
            text = attrs.evolve(text, annotations=(*text.annotations, event.annotation))
        else:
            refusal = Refusal(refusal.text + event.text)
        self.items[self.place] = Message("assistant", (text, refusal))


def normal(events: list[Event]) -> Response:
    """The answer that Chat can tell of `events`."""
    ear, whole = Ear(), fold(events)
    for event in events:
        ear.hear(event)
    items: list[Spoken] = []
    for place, item in enumerate(ear.items):
        last = place == len(ear.items) - 1 and whole.finish in (FinishReason.LENGTH, FinishReason.CONTENT_FILTER)
        items.append(attrs.evolve(_tidy(item, last), complete=whole.fault is None and not (last and not _is_whole(item))))
    usage = None if whole.fault is not None else whole.usage or Usage()
    return attrs.evolve(whole, id=f"chatcmpl-{setting().id}", model=whole.model or "shown", created=setting().created, items=tuple(items), usage=usage)


def _is_whole(item: Item) -> bool:
    if not isinstance(item, ToolCall) or item.kind == "custom":
        return False
    try:
        return isinstance(orjson.loads(item.arguments), dict)
    except ValueError:
        return False


def _tidy(item: Spoken, cut: bool) -> Spoken:
    if isinstance(item, ToolCall) and item.kind == "function" and not item.arguments and not cut:
        return attrs.evolve(item, arguments="{}")
    if isinstance(item, Message):
        return attrs.evolve(item, parts=tuple(part for part in item.parts if part not in (Text(""), Refusal(""))))
    return item


def comparable(response: Response) -> Any:
    """Without what a broken answer cannot tell: which of its items were whole, its name when it never said anything, the exact wording of its fault."""
    if response.fault is None:
        return response
    items = tuple(attrs.evolve(_loose(item), complete=False) for item in response.items)
    return items, response.fault.kind, response.fault.message


def _loose(item: Item) -> Any:
    return attrs.evolve(item, arguments=item.arguments or "{}") if isinstance(item, ToolCall) and item.kind == "function" else item


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(events=answers(), places=cuts())
def test_decoding_what_was_encoded_gives_the_same_answer(events: list[Event], places: list[float]) -> None:
    data = ChatEncoder(setting(stream_options={"include_usage": True})).encode(events)
    heard = decode(*chop(data, places))
    assert complaints(heard) == []
    assert comparable(fold(heard)) == comparable(normal(events))


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(events=answers())
def test_encoding_in_pieces_gives_the_same_bytes(events: list[Event]) -> None:
    whole = ChatEncoder(setting()).encode(events)
    encoder = ChatEncoder(setting())
    assert b"".join(encoder.encode([event]) for event in events) == whole
    assert encoder.encode([TextDelta(0, "more")]) == b""


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(events=answers(kinds={ItemKind.MESSAGE, ItemKind.FUNCTION, ItemKind.CUSTOM, ItemKind.REASONING}, overlapping=False, failing=False))
def test_stream_and_plain_answer_agree(events: list[Event]) -> None:
    """A plain answer has one thought, one message and its calls, in this order; of such an answer both forms say the same."""
    response = _in_order(normal(events))
    doc = setting(stream_options={"include_usage": True})
    streamed = fold(decode(ChatEncoder(doc).encode(unfold(response))))
    assert streamed == fold(CHAT.read_response(CHAT.write_response(response, doc), frozenset()))


def _in_order(response: Response) -> Response:
    kept: dict[Any, Spoken] = {}
    for number, item in enumerate(response.items):
        if isinstance(item, Message | Reasoning):
            kept.setdefault(type(item).__name__, item)
        elif isinstance(item, ToolCall):
            kept[number] = item
    rank = {Reasoning: 0, Message: 1, ToolCall: 2}
    return attrs.evolve(response, items=tuple(sorted(kept.values(), key=lambda item: rank[type(item)])))


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(events=answers(), places=cuts())
def test_scanner_agrees_with_the_decoder(events: list[Event], places: list[float]) -> None:
    data = ChatEncoder(setting(stream_options={"include_usage": True})).encode(events)
    frames = [each + b"\n\n" for each in data.split(b"\n\n") if each]
    bounds = sorted({0, len(frames), *(int(place * len(frames)) for place in places)})
    scanner = CHAT.Scanner(LIMIT)
    for start, end in pairwise(bounds):
        scanner.feed(b"".join(frames[start:end]))
    scanner.finish()
    heard = fold(decode(data))
    assert scanner.ended == (heard.fault is None or scanner.spoken)  # an error that has passed is an end
    assert (scanner.fault is None) == (heard.fault is None)
    assert scanner.usage == heard.usage
    assert scanner.spoken == (heard.fault is None or any(item for item in heard.items if not isinstance(item, ToolCall) or item.arguments))


def test_started_alone_and_a_fault_are_only_an_error() -> None:
    events = [Started("a", "m", 1), *decode(b'data: {"error": "x"}\n\n')]
    assert ChatEncoder(setting()).encode(events).count(b"data: ") == 1
