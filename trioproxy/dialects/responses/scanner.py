"""Looks at a Responses stream that passes through untouched.

Rule 1: the leading frames are parsed, until one of them says something; after that a batch is only searched for the two keys that an end or an error must
have, and parsed where one was found. Rule 2: the last batch is kept (a reference, no copy), so that a fault can continue its numbering.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from trioproxy.dialects.base import Setting
from trioproxy.dialects.responses.answer import read_usage
from trioproxy.dialects.responses.encoder import DONE
from trioproxy.dialects.responses.faults import error_event, failed_error, read_error, read_event
from trioproxy.dialects.responses.shell import Shell
from trioproxy.errors import RemoteProtocolError
from trioproxy.framing.json import BadJson, loads
from trioproxy.framing.sse import Frames, sift
from trioproxy.model.fault import Fault, FaultKind
from trioproxy.model.usage import Usage

_PROVISIONAL: Final = frozenset(
    {
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
    }
)
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_CLEAN: Final = frozenset({"response.completed", "response.incomplete"})
# A quotation mark inside a JSON string is escaped, so these are keys or whole values, never words of the model. Only the events that begin and end an
# answer have a `response`.
_MARKS: Final = (b'"response"', b'"error"')
# For a stream that broke before it told an id: the shape must be whole all the same.
_NOBODY: Final = Setting("0" * 32, 0, "", {})


class Scanner:
    """Scans one stream; see `dialects.base.Scanner`."""

    def __init__(self, limit: int) -> None:
        self.spoken = False
        self.ended = False
        self.fault: Fault | None = None
        self.usage: Usage | None = None
        self.marks: Sequence[bytes] = ()
        self._limit = limit
        self._frames = Frames(limit)
        self._last = b""  # the last batch that was more than a heartbeat
        self._response: dict[str, Any] | None = None
        self._done = False

    def feed(self, data: bytes, *, cut: bool = False) -> None:
        """Look at the next whole frames.

        Raises:
            RemoteProtocolError: a leading frame, or one that ends the answer, is not JSON or of the wrong shape.
        """
        if (data[:1] != b":" or b"data:" in data) and not cut:
            self._last = data
        sift(data, self)
        if cut and self.fault is not None:
            self._last = data

    def examine(self, data: bytes) -> None:
        """See `framing.sse.Sifting`."""
        for name, frame in self._frames.feed(data):
            self._look(name, frame)
        self.marks = _MARKS if self.spoken and self.fault is None else ()

    def _look(self, name: bytes, data: bytes) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        if self.ended:
            return
        doc = _parse(data)
        kind = doc.get("type")
        kind = kind if isinstance(kind, str) else name.decode("utf-8", "replace")
        if kind == "error" or (not kind and doc.get("error")):
            self.fault = read_event(doc)
        elif kind in _ENDS:
            self._end(kind, doc)
        elif kind in _PROVISIONAL:
            if isinstance(doc.get("response"), dict):
                self._response = doc["response"]
        else:
            self.spoken = True

    def _end(self, kind: str, doc: dict[str, Any]) -> None:
        response = doc.get("response")
        if not isinstance(response, dict):
            raise RemoteProtocolError("expected an object as 'response' of a terminal event")
        self.ended = True
        self._response = response
        self.usage = read_usage(response.get("usage"))
        if kind in _CLEAN and response.get("status") != "failed":
            self.spoken = True
        elif self.fault is None:
            error = response.get("error")
            self.fault = read_error(error) if error else Fault(FaultKind.UPSTREAM, "The backend did not finish the response.")

    def finish(self) -> bytes:
        """The body has ended. After an `error` event the backend owes `response.failed`; a missing `[DONE]` is no debt, OpenAI itself sends none."""
        if self.ended or self.fault is None:
            return b""
        self.ended = True
        return self._failed(self.fault, self._next_number()) + (b"" if self._done else DONE)

    def fail(self, fault: Fault) -> bytes:
        """The frames that end the stream with `fault`."""
        said, self.ended, self.fault = self.fault is not None, True, self.fault or fault
        begun, number = b"", self._next_number()
        if self._response is None:
            self._response = loads(Shell(_NOBODY).begun())
            begun = _event("response.created", 0, {"response": self._response}) + _event("response.in_progress", 1, {"response": self._response})
            number = 2
        if said:  # the backend's own error event has passed: only what must follow it is owed
            return begun + self._failed(self.fault, number) + DONE
        return begun + _event("error", number, error_event(fault)) + self._failed(fault, number + 1) + DONE

    def _failed(self, fault: Fault, number: int) -> bytes:
        """What is known of the response, as failed. Its output has passed by unparsed, so none is claimed."""
        response = dict(self._response or loads(Shell(_NOBODY).begun()))
        response |= {"status": "failed", "error": failed_error(fault), "completed_at": None}
        response.setdefault("output", [])
        return _event("response.failed", number, {"response": response})

    def _next_number(self) -> int:
        number = -1
        for _, data in Frames(self._limit).feed(self._last):
            try:
                found = _parse(data).get("sequence_number") if data != b"[DONE]" else None
            except RemoteProtocolError:
                continue
            if type(found) is int and found > number:
                number = found
        return number + 1


def _parse(data: bytes) -> dict[str, Any]:
    try:
        doc = loads(data)
    except BadJson as exc:
        raise RemoteProtocolError(f"a frame is not JSON: {exc}") from exc
    if not isinstance(doc, dict):
        raise RemoteProtocolError("a frame is not a JSON object")
    return doc


def _event(name: str, number: int, fields: dict[str, Any]) -> bytes:
    doc = {"type": name, "sequence_number": number} | fields
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(doc))
