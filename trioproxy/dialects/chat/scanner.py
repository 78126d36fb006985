"""Looks at a pass-through stream without touching it.

Until the model has said something every frame is read, for an error in a 200 must still be found in time. After that only frames with a mark are: a finish
reason, usage, an error, the end. The marks are searched in whole batches.

Rule 1: marks are searched in the spelling that the first frames use; a backend that spells its JSON in neither of the two usual ways is read in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from trioproxy.dialects.chat.assembly import Assembly
from trioproxy.dialects.chat.facts import read_usage
from trioproxy.dialects.chat.faults import error_frame, read_error
from trioproxy.errors import RemoteProtocolError
from trioproxy.framing.sse import Frames, sift
from trioproxy.model.events import SUBSTANCE, Event
from trioproxy.model.fault import Fault
from trioproxy.model.usage import Usage

_DONE: Final = b"data: [DONE]\n\n"
_MARKS: Final = {
    b'"choices":[': (b'"finish_reason":"', b'"usage":{', b'"error"', b"[DONE]"),
    b'"choices": [': (b'"finish_reason": "', b'"usage": {', b'"error"', b"[DONE]"),
}


class ChatScanner:
    """See `dialects.base.Scanner`."""

    __slots__ = ("_assembly", "_finished", "_frames", "_spelled", "ended", "fault", "marks", "spoken", "usage")

    def __init__(self, limit: int) -> None:
        self._frames = Frames(limit)
        self._assembly = Assembly()  # fed until `spoken`: it knows what substance is
        self._spelled: tuple[bytes, ...] = ()  # the marks, as this backend spells them
        self.marks: Sequence[bytes] = ()
        self._finished = False
        self.spoken = False
        self.ended = False
        self.fault: Fault | None = None
        self.usage: Usage | None = None

    def feed(self, data: bytes, *, cut: bool = False) -> None:
        """Look at the next whole frames.

        Raises:
            RemoteProtocolError: a frame that had to be read is not JSON.
        """
        sift(data, self)

    def examine(self, data: bytes) -> None:
        """See `framing.sse.Sifting`."""
        for name, payload in self._frames.feed(data):
            self._frame(name, payload)
        if self.spoken:
            self.marks = self._spelled

    def _frame(self, name: bytes, payload: bytes) -> None:
        try:
            doc = orjson.loads(payload)
        except orjson.JSONDecodeError as exc:
            self._odd_frame(payload, exc)
            return
        if type(doc) is not dict:
            raise RemoteProtocolError("a chunk is no object")
        if doc.get("error") or doc.get("object") == "error" or name == b"error":
            self.fault = self.fault or read_error(doc.get("error") or doc)
            self.ended = self.spoken  # the frame is passed on: nobody need say it again
            return
        self.usage = read_usage(doc.get("usage")) or self.usage
        choices = doc.get("choices")
        for choice in choices if type(choices) is list else ():
            self._choice(choice)
        if not self.spoken:
            self._listen(doc, payload)

    def _odd_frame(self, payload: bytes, cause: orjson.JSONDecodeError) -> None:
        word = payload.strip()
        if word == b"[DONE]":
            # Without a finish reason and without a word this is no answer: nothing was sent yet, so another backend may be asked.
            self.ended = self._finished or self.spoken
            self.spoken = self.spoken or self.ended
        elif word:
            raise RemoteProtocolError(f"a frame is not JSON: {cause.msg} (column {cause.colno})") from None

    def _choice(self, choice: Any) -> None:
        if type(choice) is not dict:
            raise RemoteProtocolError("a choice is no object")
        reason = choice.get("finish_reason")
        if reason == "error":
            self.fault = self.fault or read_error(choice.get("error"))
        elif reason:
            self._finished = True
        self.usage = read_usage(choice.get("usage")) or self.usage

    def _listen(self, doc: dict[str, Any], payload: bytes) -> None:
        out: list[Event] = []
        if not self._assembly.ended:
            self._assembly.chunk(doc, out)
        self.spoken = any(type(event) in SUBSTANCE for event in out)
        for spelling, marks in _MARKS.items():
            if spelling in payload:
                self._spelled = marks

    def finish(self) -> bytes:
        """The body has ended; see `dialects.base.Scanner.finish`."""
        if self.ended or not self._finished or self.fault is not None:
            return b""
        self.ended = self.spoken = True
        return _DONE

    def fail(self, fault: Fault) -> bytes:
        """The frame that ends the stream with `fault`."""
        return error_frame(fault)
