"""What may end an exchange, or one lap of it, from outside.

An exchange goes round in laps: wait for a lease, attempt, settle. It runs in a cancel scope that somebody else has opened (a connection, say) and is held by
it. The sentry and a client that takes nothing end the exchange (`cancel`); the metronome ends the lap with a verdict on the attempt (`expire`). Either way
the scope is cancelled and left; whoever opened it opens another, and the exchange goes on there: with another lap, or with its ending.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import trio

from trioproxy.pool.outcome import Outcome


class Tether:
    """One exchange's hold on its own running code.

    Attributes:
        gone: why the client no longer counts, or None while it does.
        verdict: how the attempt ended, when the metronome ended it; taken once, by the lap's own cleanup.
        final: True when the verdict leaves no time for another lap.
        deadline: when the whole exchange ends, a `trio.current_time()` float.
        due: when the present wait (a lease, a head, the first substance) ends, likewise.
        late: makes the verdict when `due` has passed.
    """

    __slots__ = ("_scope", "deadline", "due", "final", "gone", "late", "verdict")

    def __init__(self, deadline: float = inf) -> None:
        self.deadline = deadline
        self.due = inf
        self.late: Callable[[], Outcome] | None = None
        self.gone: str | None = None
        self.verdict: Outcome | None = None
        self.final = False
        self._scope: trio.CancelScope | None = None

    def hold(self, scope: trio.CancelScope) -> None:
        """From now on, this is the scope that the exchange runs in; it is cancelled at once when the client is gone already."""
        self._scope = scope
        if self.gone is not None:
            scope.cancel(reason=self.gone)

    def renew(self) -> None:
        """A new lap: what was said about the last one is over."""
        self.verdict = None
        self.due = inf

    def expect(self, due: float, late: Callable[[], Outcome]) -> None:
        """From now until the next call of this, be done by `due`."""
        self.due = due
        self.late = late

    def cancel(self, reason: str | None = None) -> None:
        """The client is gone: end the exchange."""
        if self.gone is None:
            self.gone = reason or "client disconnected"
        if self._scope is not None:
            self._scope.cancel(reason=self.gone)

    def expire(self, verdict: Outcome, *, final: bool = False) -> None:
        """End the lap; the attempt in it ended with `verdict`."""
        if self.verdict is None:
            self.verdict = verdict
        self.final = self.final or final
        self.due = inf
        if self._scope is not None:
            self._scope.cancel(reason="deadline")
