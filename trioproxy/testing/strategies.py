"""Hypothesis strategies of grammatical answers.

Rule 1: every list of events drawn here satisfies `model.grammar`. Rule 2: only this module imports hypothesis, which is no dependency of the package:
import it in tests only.
"""

from __future__ import annotations

import json
import string
from collections.abc import Collection
from itertools import pairwise
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from trioproxy.model.events import (
    Annotated,
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
from trioproxy.model.fault import Fault, FaultKind
from trioproxy.model.items import Seal
from trioproxy.model.usage import FinishReason, Usage

ALL_KINDS: Final = frozenset(ItemKind)
# A short alphabet draws faster than all of Unicode, and holds every character that JSON, SSE or UTF-8 treats in a way of its own.
_CHARACTERS: Final = string.printable + "\x00\x1f\x7f\x85\u00a0é\u2028\u2029\ufeff\uffff中🙂"
_SPICE: Final = st.sampled_from(['"', "\\", "\n", "\r\n", "\n\n", "\u2028", "\x00", "🙂", "data: ", '"}', '"},"finish_reason":null}]}', "[DONE]"])
_TOOLS: Final = frozenset({ItemKind.FUNCTION, ItemKind.CUSTOM})


def texts(longest: int = 12) -> SearchStrategy[str]:
    """Text that UTF-8 can say, never empty; control characters, quotes, line separators, emoji and pieces of framing among it."""
    return st.one_of(st.text(_CHARACTERS, min_size=1, max_size=longest), _SPICE)


def names() -> SearchStrategy[str]:
    """Names of tools."""
    return st.text(string.ascii_lowercase + "_", min_size=1, max_size=8)


def usages() -> SearchStrategy[Usage]:
    """Token counts whose parts fit into their wholes."""
    count = st.integers(0, 5000)
    return st.builds(
        lambda cached, written, fresh, reasoning, said: Usage(cached + written + fresh, reasoning + said, cached, written, reasoning),
        *(count, count, count, count, count),
    )


def faults() -> SearchStrategy[Fault]:
    """Faults as a stream may end with."""
    kinds = st.sampled_from([FaultKind.UPSTREAM, FaultKind.RATE_LIMITED, FaultKind.OVERLOADED, FaultKind.INVALID, FaultKind.TIMEOUT])
    return st.builds(Fault, kinds, st.sampled_from(["The backend broke.", "Slow down.", 'Bad "thing" at <3>.']))


def json_arguments() -> SearchStrategy[str]:
    """Arguments of a function as a model writes them: the text of a JSON object."""
    scalars = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), texts(6))
    values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names(), inner, max_size=2), max_leaves=4)
    return st.dictionaries(names(), values, max_size=3).map(lambda doc: json.dumps(doc, ensure_ascii=False))


@st.composite
def _pieces(draw: DrawFn, whole: SearchStrategy[str]) -> list[str]:
    """A text in up to four pieces, none of them empty."""
    text = draw(whole)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    bounds = [0, *cuts, len(text)]
    return [text[start:end] for start, end in pairwise(bounds) if end > start]


def citations() -> SearchStrategy[dict[str, Any]]:
    """Citations in the Responses shape."""
    return st.builds(
        lambda url, title, start: {"type": "url_citation", "url": url, "title": title, "start_index": start, "end_index": start + 1},
        st.sampled_from(["https://example.org/a", "https://example.org/b"]),
        texts(6),
        st.integers(0, 9),
    )


def _body(index: int, kind: ItemKind, plain: bool) -> SearchStrategy[list[Event]]:
    text: SearchStrategy[Event] = texts().map(lambda each: TextDelta(index, each))
    if kind is ItemKind.MESSAGE:
        refusal: SearchStrategy[Event] = texts().map(lambda each: RefusalDelta(index, each))
        cited: SearchStrategy[Event] = citations().map(lambda each: Annotated(index, each))
        return st.lists(text, max_size=4) if plain else st.lists(st.one_of(text, text, text, refusal, cited), max_size=5)
    if kind is ItemKind.REASONING:
        return st.lists(texts().map(lambda each: ThoughtDelta(index, each)), max_size=3) if plain else _thoughts(index)
    whole = json_arguments() if kind is ItemKind.FUNCTION else texts(20)
    return _pieces(whole).map(lambda pieces: [ArgumentsDelta(index, piece) for piece in pieces])


@st.composite
def _thoughts(draw: DrawFn, index: int) -> list[Event]:
    events: list[Event] = []
    for part in range(draw(st.integers(0, 2))):
        events += [ThoughtDelta(index, text, True, part) for text in draw(st.lists(texts(), min_size=1, max_size=2))]
    events += [ThoughtDelta(index, text) for text in draw(st.lists(texts(), max_size=2))]
    if draw(st.booleans()):
        events.append(Sealed(index, Seal(draw(st.sampled_from(["chat", "responses", "messages"])), draw(names()))))
    return events


@st.composite
def answers(
    draw: DrawFn,
    *,
    kinds: Collection[ItemKind] = ALL_KINDS,
    overlapping: bool = True,
    plain: bool = False,
    failing: bool = True,
    most: int = 5,
) -> list[Event]:
    """Whole answers: `Started`, items, perhaps usage, and an end.

    Args:
        draw: hypothesis' own.
        kinds: the kinds of item that may come.
        overlapping: whether a tool call may open while another is open.
        plain: only deltas of text, raw thought and arguments: no refusal, citation, summary, seal or item id.
        failing: whether the answer may end in `Failed`, perhaps with items open.
        most: at most so many items.
    """
    chosen = draw(st.lists(st.sampled_from(sorted(kinds, key=lambda kind: kind.value)), max_size=most))
    scripts = [_script(draw, index, kind, plain) for index, kind in enumerate(chosen)]
    events = _interleave(draw, scripts) if overlapping else [event for script in scripts for event in script]
    fails = failing and draw(st.integers(0, 3)) == 0
    if fails:
        events = events[: draw(st.integers(0, len(events)))]
    events.insert(
        0, Started(draw(st.sampled_from(["", "chatcmpl-1", "resp_1"])), draw(st.sampled_from(["", "some-model"])), draw(st.sampled_from([0, 1795336114])))
    )
    if draw(st.booleans()):
        events.insert(draw(st.integers(1, len(events))), Metered(draw(usages())))
    return [*events, Failed(draw(faults())) if fails else Finished(_reason(draw, chosen))]


def _script(draw: DrawFn, index: int, kind: ItemKind, plain: bool) -> list[Event]:
    tool = kind in _TOOLS
    opened = ItemOpened(
        index,
        kind,
        f"call_{draw(names())}_{index}" if tool else "",
        draw(names()) if tool else "",
        "" if plain or draw(st.booleans()) else f"item_{index}",
        draw(names()) if tool and not plain and draw(st.integers(0, 3)) == 0 else None,
    )
    return [opened, *draw(_body(index, kind, plain)), ItemClosed(index)]


def _interleave(draw: DrawFn, scripts: list[list[Event]]) -> list[Event]:
    """Mix neighbours that are tool calls: at each step one of those under way, or the next one's opening."""
    out: list[Event] = []
    waiting = list(scripts)
    running: list[list[Event]] = []
    while waiting or running:
        if waiting and (not running or (_is_call(waiting[0]) and _is_call(running[-1]) and len(running) < 3 and draw(st.booleans()))):
            running.append(waiting.pop(0))
            out.append(running[-1][0])
            running[-1] = running[-1][1:]
            continue
        script = running[draw(st.integers(0, len(running) - 1))]
        out.append(script.pop(0))
        running = [each for each in running if each]
    return out


def _is_call(script: list[Event]) -> bool:
    return all(isinstance(event, ArgumentsDelta | ItemClosed) or (isinstance(event, ItemOpened) and event.kind in _TOOLS) for event in script)


def _reason(draw: DrawFn, chosen: list[ItemKind]) -> FinishReason:
    natural = FinishReason.TOOL_CALLS if _TOOLS & set(chosen) else FinishReason.STOP
    return draw(st.sampled_from([natural, natural, FinishReason.LENGTH, FinishReason.CONTENT_FILTER]))


def cuts(most: int = 12) -> SearchStrategy[list[float]]:
    """Places to cut a byte string at, as parts of its length: see `chop`."""
    return st.lists(st.floats(0, 1), max_size=most)


def chop(data: bytes, places: Collection[float]) -> list[bytes]:
    """`data` cut at `places`."""
    bounds = [0, *sorted(int(place * len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]
