"""Waiting for a lease.

Whoever finds every fitting credential busy waits in one queue over the whole set, first come, first served: when a lease comes back, the oldest
waiter that can use it is handed a new one before anybody else is asked. Waiting is cancellable, bounded in number and in time.
"""

from __future__ import annotations

from math import inf
from typing import TypeGuard

import attrs
import trio

from trioproxy.model.limits import Limits
from trioproxy.pool.pool import Lease, Nobody, Pool, Wait, Want


def busy(picked: Lease | Wait | Nobody) -> TypeGuard[Wait]:
    """Whether a release could help."""
    return isinstance(picked, Wait) and picked.busy


@attrs.define(eq=False)
class _Waiter:
    want: Want
    seen: Wait
    bell: trio.Event = attrs.field(factory=trio.Event)
    picked: Lease | Wait | Nobody | None = None


class Turnstile:
    """The queue in front of the pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiters: dict[_Waiter, None] = {}  # in the order of arrival
        pool.on_release = self._released

    def __len__(self) -> int:
        return len(self._waiters)

    def pick(self, want: Want, now: float) -> Lease | Wait | Nobody:
        """What the pool says, or a busy `Wait` where somebody waits already: whoever is told that everybody is busy may stand in line (`lease`)."""
        if self._rivals(want):
            return Wait(want, now, None, (), busy=True)
        return self._pool.pick(want, now)

    async def lease(self, seen: Wait, limits: Limits) -> Lease | Wait | Nobody:
        """Stand in line. A lease; or `Wait` when only time can help (or the queue was full, or took too long), or `Nobody` when nothing can.

        `seen` is what `pick` has just said. Cancelled while waiting, this leaves no trace: a lease that was handed over in that moment goes back, unblamed.
        """
        if len(self._waiters) >= limits.queued:
            return seen
        return await self._wait(_Waiter(seen.want, seen), seen.now + (limits.queue_s or inf))

    async def _wait(self, waiter: _Waiter, deadline: float) -> Lease | Wait | Nobody:
        self._waiters[waiter] = None
        taken = False
        try:
            while waiter.picked is None and trio.current_time() < deadline:
                await self._listen(waiter, deadline)
            taken = True
            return waiter.picked if waiter.picked is not None else waiter.seen
        finally:
            self._waiters.pop(waiter, None)
            if not taken and isinstance(waiter.picked, Lease):
                waiter.picked.abandon(trio.current_time())

    async def _listen(self, waiter: _Waiter, deadline: float) -> None:
        """Wait for the bell; or for the moment when a cooldown ends, which rings no bell, and ask again."""
        until = waiter.seen.until if waiter.seen.until is not None else inf
        with trio.move_on_at(min(until, deadline)):
            await waiter.bell.wait()
        if waiter.picked is None:
            self._ask(waiter, trio.current_time())

    def _ask(self, waiter: _Waiter, now: float) -> None:
        picked = self._pool.pick(waiter.want, now)
        if busy(picked):
            # A cooldown that ended without anybody free must not be waited for again.
            waiter.seen = picked if picked.until is None or picked.until > now else attrs.evolve(picked, until=None)
        else:
            waiter.picked = picked
            self._waiters.pop(waiter, None)
            waiter.bell.set()

    def _rivals(self, want: Want) -> bool:
        """Whether somebody is waiting already for what `want` wants."""
        if not self._waiters:
            return False
        wanted = set(want.candidates)
        return any(not wanted.isdisjoint(waiter.want.candidates) for waiter in self._waiters)

    def _released(self) -> None:
        """A lease came back: serve the queue, oldest first."""
        if self._waiters:
            now = trio.current_time()
            for waiter in tuple(self._waiters):
                self._ask(waiter, now)
