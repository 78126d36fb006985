"""How many retries the whole house may make, so that an outage is not amplified.

Rule: over the last minute, retries stay below a share of the calls, with a floor for houses that have little to do.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

WINDOW_S: Final = 60


@attrs.define(eq=False)
class _Second:
    at: int
    calls: int = 0
    retries: int = 0


@attrs.define(eq=False)
class RetryBudget:
    """Calls and retries of the last 60 seconds, counted by the second: at most 61 counters, whatever the load.

    Attributes:
        ratio: retries allowed per call; `floor` retries are always allowed in a window.
    """

    ratio: float
    floor: int
    _seconds: deque[_Second] = attrs.field(factory=deque, repr=False)
    _calls: int = 0
    _retries: int = 0

    def called(self, now: float) -> None:
        """A call has arrived."""
        self._second(now).calls += 1
        self._calls += 1

    def allow(self, now: float) -> bool:
        """Whether one more retry may be made; if so, it is counted."""
        second = self._second(now)
        if self._retries >= max(self.floor, self.ratio * self._calls):
            return False
        second.retries += 1
        self._retries += 1
        return True

    def _second(self, now: float) -> _Second:
        at, seconds = int(now // 1), self._seconds
        while seconds and seconds[0].at <= at - WINDOW_S:
            old = seconds.popleft()
            self._calls -= old.calls
            self._retries -= old.retries
        if not seconds or seconds[-1].at < at:
            seconds.append(_Second(at))
        return seconds[-1]
