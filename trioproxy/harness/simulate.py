"""A simulated model: a request → what it will say, and when.

Sans-IO and sans-clock: `script` returns delays and events, others wait and send. The same request and seed always give the same script. What the model does is
steered by its name (see `steering.OPTIONS`): `demo` answers in a few sentences about what was asked, at the pace of a real model, calls tools that fit and
fills in schemas; `mock` says exactly as much as its options demand.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import itertools
import json
import random
from collections.abc import Iterator
from typing import Final

import attrs

from trioproxy.errors import FaultError
from trioproxy.harness import prose
from trioproxy.harness.example import Example, Hints
from trioproxy.harness.steering import Steering, steer
from trioproxy.harness.tooluse import Use, uses
from trioproxy.model.events import (
    ArgumentsDelta,
    Event,
    Failed,
    Finished,
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
from trioproxy.model.fault import STATUS, Fault, FaultKind
from trioproxy.model.items import Reasoning, Seal
from trioproxy.model.request import Request
from trioproxy.model.usage import FinishReason, Usage

DEMO_FIRST_S: Final = 0.25
DEMO_GAP_S: Final = 1 / 60
MOCK_GAP_S: Final = 0.01
MOCK_DELTAS: Final = 20
_SEAL: Final = b"simulated thought "
_DELTAS: Final = (TextDelta, RefusalDelta, ThoughtDelta, ArgumentsDelta)


class Ending(enum.Enum):
    """What happens after the last beat."""

    WHOLE = "whole"  # the body ends as it should
    CUT = "cut"  # the connection is cut: more was owed
    STALL = "stall"  # silence, until the caller leaves


@attrs.frozen
class Beat:
    """`delay_s` of silence, then `events` at once."""

    delay_s: float
    events: tuple[Event, ...]


@attrs.frozen
class Script:
    """What the model does.

    Attributes:
        beats: the stream, grammatical; with ending WHOLE the last event is `Finished` or `Failed`.
        ending: what comes after.
        refused: the call is answered with this fault and its HTTP status instead; then there are no beats.
        in_band: the only event is a `Failed`: status 200, and an error all the same.
    """

    beats: tuple[Beat, ...] = ()
    ending: Ending = Ending.WHOLE
    refused: Fault | None = None
    in_band: bool = False

    @property
    def events(self) -> list[Event]:
        """All events in order."""
        return [event for beat in self.beats for event in beat.events]


def script(request: Request, seed: int, dialect: str = "") -> Script:
    """Decide what to say to `request`.

    Args:
        request: as a backend received it; its `model` steers.
        seed: the same seed and request give the same script.
        dialect: whose seals go into reasoning items when the client asked for encrypted thoughts; "" for none.

    Raises:
        FaultError: there is no such model, or a JSON schema in the request is none.
    """
    try:
        return _script(request, seed, dialect)
    except ValueError as error:
        raise FaultError(Fault(FaultKind.INVALID, f"Invalid schema: {error}", code="invalid_json_schema")) from error


def _script(request: Request, seed: int, dialect: str) -> Script:
    steering = steer(request.model)
    rng = random.Random(f"{seed}/{request.sampling.seed}/{len(request.items)}/{prose.prompt_of(request)}")  # noqa: S311  # variety, no secrets
    if refused := _refused(request, steering, dialect):
        return Script(refused=refused)
    started = Started(f"{rng.getrandbits(128):032x}", request.model)
    if steering.error_in_band:
        fault = Fault(FaultKind.OVERLOADED, "The simulated backend is overloaded, although it said 200.")
        return Script((Beat(steering.first_s or 0.0, (started, Failed(fault))),), in_band=True)
    events = list(_speech(request, steering, rng, dialect))
    return _arrange(started, events, request, steering, rng)


def _refused(request: Request, steering: Steering, dialect: str) -> Fault | None:
    if steering.status is not None:
        kind = next((kind for kind, status in STATUS.items() if status == steering.status), None)
        kind = kind or (FaultKind.INVALID if steering.status < 500 else FaultKind.INTERNAL)
        wait = 1.0 if steering.status in (429, 503) else None
        return Fault(kind, f"The simulated backend answers with status {steering.status}, as its name says.", status=steering.status, retry_after_s=wait)
    if any(isinstance(item, Reasoning) and not _genuine(item, dialect) for item in request.items):
        return Fault(FaultKind.INVALID, "The encrypted content of a reasoning item could not be verified.", code="invalid_encrypted_content")
    return None


def _speech(request: Request, steering: Steering, rng: random.Random, dialect: str) -> Iterator[Event]:
    """All items of the answer, without the events around them."""
    if steering.empty:
        return
    indices = itertools.count()
    thinking = _thinking(request, steering)
    if thinking:
        yield from _thoughts(next(indices), thinking, request, dialect)
    wanted = steering.calls if steering.calls is not None or steering.base == "demo" or _must_call(request) else 0
    if steering.refusal:
        yield from _message(next(indices), prose.pieces(prose.REFUSAL), RefusalDelta)
    elif calls := uses(request, wanted, rng):
        for use in calls:
            yield from _call(next(indices), use)
    else:
        yield from _message(next(indices), _words(request, steering, rng), TextDelta)


def _must_call(request: Request) -> bool:
    return request.tool_choice is not None and request.tool_choice.mode == "required"


def _thinking(request: Request, steering: Steering) -> list[list[str]]:
    """Paragraphs of thought, each as its deltas."""
    if steering.thoughts is not None:
        return [prose.filler(steering.thoughts)] if steering.thoughts else []
    if steering.base == "mock" or request.effort in (None, "none"):
        return []
    return [prose.pieces(thought) for thought in prose.thoughts(request)]


def _thoughts(index: int, paragraphs: list[list[str]], request: Request, dialect: str) -> Iterator[Event]:
    summary = request.summary is not None
    yield ItemOpened(index, ItemKind.REASONING)
    for part, paragraph in enumerate(paragraphs):
        for place, piece in enumerate(paragraph):
            joint = " " if part and not place and not summary else ""
            yield ThoughtDelta(index, joint + piece, summary, part if summary else 0)
    if dialect and "reasoning.encrypted_content" in request.include:
        yield Sealed(index, Seal(dialect, _seal("".join(itertools.chain.from_iterable(paragraphs)))))
    yield ItemClosed(index)


def _seal(text: str) -> str:
    return base64.b64encode(_SEAL + hashlib.sha256(text.encode()).hexdigest().encode()).decode()


def _genuine(item: Reasoning, dialect: str) -> bool:
    """Like a real backend, ours only takes back seals that it gave out itself, byte for byte."""
    if item.seal is None:
        return True
    try:
        blob = base64.b64decode(item.seal.blob, validate=True)
    except ValueError:
        return False
    return item.seal.dialect == dialect and blob.startswith(_SEAL) and len(blob) == len(_SEAL) + 64


def _words(request: Request, steering: Steering, rng: random.Random) -> list[str]:
    """The deltas of the answer in words."""
    form = request.output
    if form is not None and form.kind == "json_schema":
        prompt = prose.prompt_of(request)
        hints = Hints(prose.names(prompt), prose.numbers(prompt))
        return prose.pieces(json.dumps(Example(form.schema or {}, rng, hints).value(), ensure_ascii=False))
    if form is not None and form.kind == "json_object":
        return prose.pieces(json.dumps({"answer": prose.answer(request, rng)}, ensure_ascii=False))
    if steering.deltas is not None or steering.base == "mock":
        return prose.filler(MOCK_DELTAS if steering.deltas is None else steering.deltas)
    text = prose.answer(request, rng)
    for stop in request.sampling.stop:
        text = text.partition(stop)[0] if stop else text
    return prose.pieces(text)


def _message(index: int, deltas: list[str], kind: type[TextDelta] | type[RefusalDelta]) -> Iterator[Event]:
    yield ItemOpened(index, ItemKind.MESSAGE)
    for delta in deltas:
        yield kind(index, delta)
    yield ItemClosed(index)


def _call(index: int, use: Use) -> Iterator[Event]:
    kind = ItemKind.CUSTOM if use.tool.kind == "custom" else ItemKind.FUNCTION
    yield ItemOpened(index, kind, use.id, use.tool.name, namespace=use.tool.namespace)
    for piece in prose.pieces(use.arguments):
        yield ArgumentsDelta(index, piece)
    yield ItemClosed(index)


def _arrange(started: Started, events: list[Event], request: Request, steering: Steering, rng: random.Random) -> Script:
    """Put the events in time, cut them where the name or a token limit says so, and add how they end."""
    kept, whole = _limited(events, request, steering)
    reason = steering.finish or (_reason(kept) if whole else FinishReason.LENGTH)
    stop = steering.cut_after if steering.cut_after is not None else steering.stall_after
    beats = [Beat(0.0, (started,))]
    waited, said = False, 0
    for event in kept:
        if isinstance(event, _DELTAS):
            if said == stop:
                break
            said += 1
            beats.append(Beat(_gap(steering, rng) if waited else _first(steering), (event,)))
            waited = True
        else:
            beats.append(Beat(0.0, (event,)))
    if stop is not None:
        return Script(tuple(beats), Ending.CUT if steering.cut_after is not None else Ending.STALL)
    ending: list[Event] = [] if steering.unmetered else [Metered(_usage(request, kept))]
    beats.append(Beat(0.0 if waited else _first(steering), (*ending, Finished(reason))))
    return Script(tuple(beats))


def _limited(events: list[Event], request: Request, steering: Steering) -> tuple[list[Event], bool]:
    """`demo` honours the token limit, a delta counting as one token; `mock` says what its name says."""
    most = request.sampling.max_tokens
    if steering.base == "mock" or most is None or sum(isinstance(event, _DELTAS) for event in events) <= most:
        return events, True
    kept: list[Event] = []
    open_index: int | None = None
    for event in events:
        most -= isinstance(event, _DELTAS)
        if most < 0:
            break
        kept.append(event)
        if isinstance(event, ItemOpened):
            open_index = event.index
        elif isinstance(event, ItemClosed):
            open_index = None
    if open_index is not None:
        kept.append(ItemClosed(open_index, complete=False))
    return kept, False


def _reason(events: list[Event]) -> FinishReason:
    called = any(isinstance(event, ItemOpened) and event.kind in (ItemKind.FUNCTION, ItemKind.CUSTOM) for event in events)
    return FinishReason.TOOL_CALLS if called else FinishReason.STOP


def _first(steering: Steering) -> float:
    return steering.first_s if steering.first_s is not None else DEMO_FIRST_S if steering.base == "demo" else 0.0


def _gap(steering: Steering, rng: random.Random) -> float:
    if steering.gap_s is not None:
        return steering.gap_s
    return DEMO_GAP_S * rng.uniform(0.5, 1.5) if steering.base == "demo" else MOCK_GAP_S


def _usage(request: Request, events: list[Event]) -> Usage:
    thought = "".join(event.text for event in events if isinstance(event, ThoughtDelta))
    said = "".join(event.text for event in events if isinstance(event, TextDelta | RefusalDelta | ArgumentsDelta))
    reasoning = prose.tokens(thought)
    return Usage(input=prose.prompt_tokens(request), output=reasoning + prose.tokens(said), reasoning=reasoning)
