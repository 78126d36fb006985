"""Cancel a piece of work at every point at which it can be cancelled, and look whether the world is still in order.

A point is a wait of one of its tasks, seen from two sides: cancelled while the task waits (the wait itself is aborted), or cancelled as it goes on (what it
waited for has happened, and the cancellation meets it at its next checkpoint). Leaks live on either side.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

SIDES: Final[tuple[str, ...]] = ("waiting", "going on")


class _Knife(trio.abc.Instrument):
    """Cancels `scope` at step `step` of `root` or of any task below it."""

    def __init__(self, root: trio.lowlevel.Task, scope: trio.CancelScope, step: int, side: str) -> None:
        self.scope, self.struck = scope, False
        self._root, self._left, self._side = root, step, side

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._below(task):
            self._left -= 1
            self._strike("waiting")

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._below(task):
            self._strike("going on")

    def _strike(self, side: str) -> None:
        if self._left == 0 and side == self._side and not self.struck:
            self.struck = True
            self.scope.cancel(reason=f"sweep: {side}")

    def _below(self, task: trio.lowlevel.Task) -> bool:
        here: trio.lowlevel.Task | None = task
        while here is not None and here is not self._root:
            here = here.parent_nursery.parent_task if here.parent_nursery else None
        return here is not None


async def sweep(make: Callable[[], Awaitable[object]], check: Callable[[], object], *, most: int = 10_000) -> int:
    """Run `make()` again and again, cancelled at step 1, 2, … until it comes to its end uncancelled.

    Args:
        make: the work; each call must build a world of its own, for the last one was torn down at an arbitrary place.
        check: asserts what must hold after each run, cancelled or not.
        most: steps after which the work counts as endless.

    Returns:
        How many steps the work has. Any exception but the cancellation itself passes through, with a note that says where the knife fell.

    Raises:
        AssertionError: the work has more than `most` steps.
    """
    for step in range(1, most + 1):
        for side in SIDES:
            try:
                struck = await _cut(make, step, side)
                check()
            except Exception as error:
                error.add_note(f"swept: cancelled at step {step}, {side}")
                raise
            if not struck:
                return step - 1
    raise AssertionError(f"no end after {most} steps")


async def _cut(make: Callable[[], Awaitable[object]], step: int, side: str) -> bool:
    struck = False

    async def run() -> None:
        nonlocal struck
        with trio.CancelScope() as scope:
            knife = _Knife(trio.lowlevel.current_task(), scope, step, side)
            trio.lowlevel.add_instrument(knife)
            try:
                await make()
            finally:
                trio.lowlevel.remove_instrument(knife)
                struck = knife.struck

    # A task of its own: the tasks of the test around it are no part of the work.
    async with trio.open_nursery() as nursery:  # noqa: ASYNC112  # see above
        nursery.start_soon(run, name="swept")
    return struck
