"""A Responses stream → events.

Rule 1: strict where meaning is at stake (JSON, types of what is read, an end that was said), tolerant in what servers vary: no sequence numbers and no
indices (llama.cpp), no event names and bare errors (`transformers serve`), events beyond the API's (vLLM). Rule 2: a stream without a terminal event is a
fault, whatever it said.
"""

from __future__ import annotations

from typing import Final

from trioproxy.dialects.base import NO_QUIRKS
from trioproxy.dialects.responses.answer import Answer
from trioproxy.errors import RemoteProtocolError
from trioproxy.framing.json import BadJson, loads
from trioproxy.framing.sse import Frames
from trioproxy.model.events import Event

_DONE: Final = b"[DONE]"


class Decoder:
    """Decodes one stream."""

    def __init__(self, limit: int, quirks: frozenset[str] = NO_QUIRKS) -> None:
        self._frames = Frames(limit)
        self._answer = Answer()

    @property
    def settled(self) -> bool:
        """True while no part of a frame is kept back."""
        return not self._frames.pending

    def feed(self, data: bytes) -> list[Event]:
        """Decode the next bytes; see `dialects.base.Decoder`."""
        return self._read(self._frames.feed(data))

    def finish(self) -> list[Event]:
        """The body has ended."""
        if self._answer.ended:
            return []
        events = self._read(self._frames.finish())
        self._answer.break_off()
        return events + self._taken()

    def _read(self, frames: list[tuple[bytes, bytes]]) -> list[Event]:
        answer = self._answer
        for name, data in frames:
            if answer.ended:
                break
            if data == _DONE:
                continue
            try:
                doc = loads(data)
            except BadJson as exc:
                raise RemoteProtocolError(f"a frame is not JSON: {exc}") from exc
            if not isinstance(doc, dict):
                raise RemoteProtocolError("a frame is not a JSON object")
            kind = doc.get("type")
            answer.take(kind if isinstance(kind, str) else name.decode("utf-8", "replace"), doc)
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._answer.out = self._answer.out, []
        return events
