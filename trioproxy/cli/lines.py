"""Lines for stderr, written by a task of their own: a reader that is slow, or gone, never holds an exchange up."""

from __future__ import annotations

import sys
from typing import Final

import attrs
import trio

KEPT: Final = 8192  # lines; beyond it they are dropped, and counted


def _channel() -> tuple[trio.MemorySendChannel[str], trio.MemoryReceiveChannel[str]]:
    return trio.open_memory_channel[str](KEPT)


@attrs.define(eq=False)
class Lines:
    """A bounded queue of lines, each with its line end.

    Attributes:
        dropped: how many were lost because the reader was slow.
    """

    dropped: int = 0
    # Two lifetimes meet here: exchanges, and a file descriptor that may block.
    _ends: tuple[trio.MemorySendChannel[str], trio.MemoryReceiveChannel[str]] = attrs.field(factory=_channel)

    def offer(self, line: str) -> None:
        """Keep a line for writing, or drop it."""
        try:
            self._ends[0].send_nowait(line)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self.dropped += 1

    def close(self) -> None:
        """No more lines; `drain` ends when the last is written."""
        self._ends[0].close()

    async def drain(self) -> None:
        """Write lines, as many at once as there are, until `close` or cancellation."""
        receive = self._ends[1]
        with receive:
            async for line in receive:
                batch = [line]
                while receive.statistics().current_buffer_used:
                    batch.append(receive.receive_nowait())
                if self.dropped:
                    batch.append(f"trioproxy: {self.dropped} lines were dropped, because nobody read them in time\n")
                    self.dropped = 0
                await trio.to_thread.run_sync(_write, "".join(batch), abandon_on_cancel=True)


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody reads any more: the gateway goes on without words
        return
