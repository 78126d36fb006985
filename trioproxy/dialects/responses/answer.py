"""What a Responses backend says, document by document → canonical events. Shared by streams and plain answers.

Rule 1: nothing is trusted twice: deltas are what was said, and the finished item (or the terminal response) only adds what they left out. Rule 2: an item is
found by its output index, else by its id, else it is the last one, because llama.cpp's server sends no indices. Rule 3: odd shapes raise
`RemoteProtocolError`; unknown events are ignored, as the API demands of its clients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from trioproxy.dialects.responses.faults import read_error, read_event
from trioproxy.dialects.responses.seals import DIALECT
from trioproxy.dialects.responses.tracks import KINDS, Doc, Track, objects, text_of, wrong
from trioproxy.errors import RemoteProtocolError
from trioproxy.model.events import Annotated, ArgumentsDelta, Event, Failed, Finished, Foreign, Metered, RefusalDelta, Started, TextDelta, ThoughtDelta
from trioproxy.model.fault import Fault, FaultKind
from trioproxy.model.usage import FinishReason, Usage


class Answer:
    """One answer under way. `out` collects events until somebody takes them; `ended` is True once the last one is among them."""

    def __init__(self) -> None:
        self.out: list[Event] = []
        self.ended = False
        self._started = False
        self._next = 0  # index of the next item of ours
        self._tracks: list[Track] = []  # in the order of appearance
        self._by_place: dict[int, Track] = {}
        self._by_id: dict[str, Track] = {}

    def take(self, name: str, doc: Doc) -> None:
        """The next event of a stream.

        Raises:
            RemoteProtocolError: it has not the shape of its kind.
        """
        if self.ended:
            return
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self, doc)
        elif name == "" and doc.get("error"):
            self._fail(read_event(doc))

    def conclude(self, name: str, response: Doc) -> None:
        """The whole response, at the end of a stream or as a plain answer; `name` is the status it claims."""
        self._start(response)
        status = response.get("status")
        if status in ("failed", "incomplete", "cancelled"):
            name = status
        self._reconcile(response)
        if (usage := read_usage(response.get("usage"))) is not None:
            self.out.append(Metered(usage))
        if name == "cancelled":
            self._fail(Fault(FaultKind.UPSTREAM, "The backend cancelled the response."))
        elif name == "failed":
            error = response.get("error")
            self._fail(read_error(error) if error else Fault(FaultKind.UPSTREAM, "The backend failed without saying why."))
        else:
            tier = response.get("service_tier")
            self.out.append(Finished(self._reason(name, response), tier if isinstance(tier, str) else None))
            self.ended = True

    def break_off(self) -> None:
        """The backend stopped in the middle."""
        if not self.ended:
            self._fail(Fault(FaultKind.UPSTREAM, "The backend closed the stream before the response was complete.", code="server_error"))

    def _fail(self, fault: Fault) -> None:
        if not self._started:
            self._start({})
        self.out.append(Failed(fault))
        self.ended = True

    def _reason(self, name: str, response: Doc) -> FinishReason:
        if name == "incomplete":
            details = response.get("incomplete_details")
            why = details.get("reason") if isinstance(details, dict) else None
            return FinishReason.CONTENT_FILTER if why == "content_filter" else FinishReason.LENGTH
        called = any(track.is_call for track in self._tracks)
        return FinishReason.TOOL_CALLS if called else FinishReason.STOP

    def _start(self, response: Doc) -> None:
        if self._started:
            return
        self._started = True
        id, model, created = response.get("id"), response.get("model"), response.get("created_at")
        self.out.append(Started(id if isinstance(id, str) else "", model if isinstance(model, str) else "", whole(created)))

    def _on_begun(self, doc: Doc) -> None:
        response = doc.get("response")
        if not isinstance(response, dict):
            raise wrong("response", "an object")
        self._start(response)

    def _on_concluded(self, name: str, doc: Doc) -> None:
        response = doc.get("response")
        if not isinstance(response, dict):
            raise wrong("response", "an object")
        self.conclude(name, response)

    def _on_error(self, doc: Doc) -> None:
        self._fail(read_event(doc))

    def _on_added(self, doc: Doc) -> None:
        self._start({})
        item = doc.get("item")
        if not isinstance(item, dict):
            raise wrong("item", "an object")
        self._add(item, doc.get("output_index"))

    def _add(self, item: Doc, place: Any) -> Track:
        kind, id = item.get("type"), item.get("id")
        if not isinstance(kind, str):
            raise wrong("item.type", "a string")
        track = Track(kind, id if isinstance(id, str) else "", len(self._tracks))
        if type(place) is int:
            if place in self._by_place:
                raise RemoteProtocolError(f"output_index {place} was used twice")
            self._by_place[place] = track
            track.place = place
        if track.id:
            self._by_id[track.id] = track
        self._tracks.append(track)
        if kind in KINDS:
            self._open(track, item)
        return track

    def _open(self, track: Track, item: Doc) -> None:
        """Open the item, unless it is a call whose id or name has yet to come."""
        opened = track.opening(item, self._next)
        if opened is not None:
            self._next += 1
            self.out.append(opened)
            self.out += track.flush()

    def _on_done(self, doc: Doc) -> None:
        self._start({})
        item = doc.get("item")
        if not isinstance(item, dict):
            raise wrong("item", "an object")
        track = self._find(doc) or self._find_item(item)
        if track is None:
            track = self._add(item, doc.get("output_index"))
        self._close(track, item)

    def _find_item(self, item: Doc) -> Track | None:
        id = item.get("id")
        return self._by_id.get(id) if isinstance(id, str) else None

    def _find(self, doc: Doc) -> Track | None:
        place = doc.get("output_index")
        if type(place) is int and place in self._by_place:
            return self._by_place[place]
        id = doc.get("item_id")
        return self._by_id.get(id) if isinstance(id, str) else None

    def _close(self, track: Track, item: Doc) -> None:
        if track.closed:
            return
        if track.kind not in KINDS:
            track.closed = True
            self.out.append(Foreign(self._next, DIALECT, item))
            self._next += 1
            return
        if track.opened is None:
            self._open(track, item)
        self.out += track.finish(item)

    def _reconcile(self, response: Doc) -> None:
        """What the terminal response holds and nobody sent before; what is still open is closed."""
        output = response.get("output")
        items = objects(output, "output") if output is not None else []
        for place, item in enumerate(items):
            track = self._find_item(item) or (self._tracks[place] if place < len(self._tracks) and self._tracks[place].kind == item.get("type") else None)
            if track is None and place >= len(self._tracks):
                track = self._add(item, None)
            if track is not None:
                self._close(track, item)
        for track in self._tracks:
            if not track.closed and track.kind in KINDS:
                self.out += track.abandon()

    def _body(self, doc: Doc, kind: str) -> Track | None:
        """The item that a delta belongs to; one that nobody announced is opened, unless it is a call, whose name is then unknown."""
        track = self._find(doc)
        if track is None and type(doc.get("output_index")) is not int and not isinstance(doc.get("item_id"), str):
            track = next((each for each in reversed(self._tracks) if each.kind == kind and not each.closed), None)
        if track is None and kind in ("message", "reasoning"):
            self._start({})
            track = self._add({"type": kind, "id": doc.get("item_id")}, doc.get("output_index"))
        if track is None or track.closed:
            return None
        if not track.fits(kind):
            raise RemoteProtocolError(f"a delta of a {kind} in an item of another kind")
        return track

    def _on_text(self, doc: Doc) -> None:
        track = self._body(doc, "message")
        text = text_of(doc, "delta")
        if track is not None and track.opened is not None and (text or doc.get("logprobs")):
            track.text.append(text)
            logprobs = tuple(objects(doc["logprobs"], "logprobs")) if doc.get("logprobs") else ()
            self.out.append(TextDelta(track.opened.index, text, logprobs))

    def _on_refusal(self, doc: Doc) -> None:
        track = self._body(doc, "message")
        text = text_of(doc, "delta")
        if track is not None and track.opened is not None and text:
            track.refusal.append(text)
            self.out.append(RefusalDelta(track.opened.index, text))

    def _on_annotation(self, doc: Doc) -> None:
        track, annotation = self._body(doc, "message"), doc.get("annotation")
        if not isinstance(annotation, dict):
            raise wrong("annotation", "an object")
        if track is not None and track.opened is not None:
            track.annotations += 1
            self.out.append(Annotated(track.opened.index, annotation))

    def _on_arguments(self, doc: Doc) -> None:
        text = text_of(doc, "delta")
        track = self._body(doc, "call")
        if track is not None and text:
            track.text.append(text)
            if track.opened is not None:
                self.out.append(ArgumentsDelta(track.opened.index, text))

    def _on_thought(self, doc: Doc) -> None:
        track = self._body(doc, "reasoning")
        text = text_of(doc, "delta")
        if track is not None and track.opened is not None and text:
            track.text.append(text)
            self.out.append(ThoughtDelta(track.opened.index, text))

    def _on_summary(self, doc: Doc) -> None:
        track = self._body(doc, "reasoning")
        text, place = text_of(doc, "delta"), doc.get("summary_index", 0)
        if type(place) is not int or place < 0:
            raise wrong("summary_index", "an integer from 0")
        if track is not None and track.opened is not None and text:
            self.out += track.summarise(place, text)


def whole(value: Any) -> int:
    """A count or a moment as an integer; 0 for whatever is none."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 53 else 0


def read_usage(doc: Any) -> Usage | None:
    """Token counts of a response; None when it has none. What is missing counts as 0."""
    if not isinstance(doc, dict):
        return None

    def count(place: Any, key: str) -> int:
        return whole(place.get(key)) if isinstance(place, dict) else 0

    inner, outer = doc.get("input_tokens_details"), doc.get("output_tokens_details")
    return Usage(
        count(doc, "input_tokens"),
        count(doc, "output_tokens"),
        count(inner, "cached_tokens"),
        count(inner, "cache_write_tokens"),
        count(outer, "reasoning_tokens"),
    )


_HANDLERS: Final[Mapping[str, Callable[[Answer, Doc], None]]] = MappingProxyType(
    {
        "response.created": Answer._on_begun,
        "response.queued": Answer._on_begun,
        "response.in_progress": Answer._on_begun,
        "response.completed": lambda answer, doc: answer._on_concluded("completed", doc),
        "response.incomplete": lambda answer, doc: answer._on_concluded("incomplete", doc),
        "response.failed": lambda answer, doc: answer._on_concluded("failed", doc),
        "response.cancelled": lambda answer, doc: answer._on_concluded("cancelled", doc),
        "error": Answer._on_error,
        "response.error": Answer._on_error,
        "response.output_item.added": Answer._on_added,
        "response.output_item.done": Answer._on_done,
        "response.output_text.delta": Answer._on_text,
        "response.refusal.delta": Answer._on_refusal,
        "response.output_text.annotation.added": Answer._on_annotation,
        "response.function_call_arguments.delta": Answer._on_arguments,
        "response.custom_tool_call_input.delta": Answer._on_arguments,
        "response.reasoning_text.delta": Answer._on_thought,
        "response.reasoning.delta": Answer._on_thought,  # the name in Open Responses
        "response.reasoning_summary_text.delta": Answer._on_summary,
    }
)
