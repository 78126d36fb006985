"""`sweep` cancels at every point, from both sides, and stops when there is none left."""

import pytest
import trio

from trioproxy.testing.sweep import sweep


async def test_counts_the_waits_of_the_work() -> None:
    async def work() -> None:
        for _ in range(5):
            await trio.lowlevel.checkpoint()

    assert await sweep(work, lambda: None) == 5


async def test_work_that_never_waits_has_no_points() -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1

    assert await sweep(work, lambda: None) == 0
    assert runs == 1


async def wakes(lot: trio.lowlevel.ParkingLot) -> None:
    while True:
        await trio.testing.wait_all_tasks_blocked()
        lot.unpark_all()


async def test_cancels_at_every_wait_from_both_sides(nursery: trio.Nursery) -> None:
    """A wait that is aborted has not happened; one that is passed has, and the next one is cut."""
    traces: list[list[str]] = []
    lot = trio.lowlevel.ParkingLot()
    nursery.start_soon(wakes, lot)

    async def work() -> None:
        trace: list[str] = []
        traces.append(trace)
        for number in range(3):
            await lot.park()
            trace.append(str(number))
        trace.append("end")

    assert await sweep(work, lambda: None) == 3
    assert traces == [
        [],  # first wait aborted
        ["0"],  # first wait over, second cut
        ["0"],
        ["0", "1"],
        ["0", "1"],
        ["0", "1", "2", "end"],  # the last wait was over: nothing is left to cut
        ["0", "1", "2", "end"],
    ]
    nursery.cancel_scope.cancel()


async def test_children_are_part_of_the_work() -> None:
    held = 0

    async def child() -> None:
        nonlocal held
        held += 1
        try:
            await trio.lowlevel.checkpoint()
        finally:
            held -= 1

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(child)

    def check() -> None:
        assert held == 0

    assert await sweep(work, check) >= 4


async def test_tasks_around_the_work_are_no_part_of_it(nursery: trio.Nursery) -> None:
    async def neighbour() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    nursery.start_soon(neighbour)

    async def work() -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()

    assert await sweep(work, lambda: None) == 3
    nursery.cancel_scope.cancel()


async def test_finds_a_leak_that_only_one_step_shows() -> None:
    """Something is taken, then a checkpoint comes before the `try`: a cancellation there leaks it."""
    taken: list[int] = []

    async def work() -> None:
        taken.clear()
        await trio.lowlevel.checkpoint()
        taken.append(1)
        await trio.lowlevel.checkpoint()
        try:
            await trio.lowlevel.checkpoint()
        finally:
            taken.pop()

    def check() -> None:
        assert not taken, "leaked"

    with pytest.raises(AssertionError, match="leaked") as caught:
        await sweep(work, check)
    assert caught.value.__notes__ == ["swept: cancelled at step 2, waiting"]


async def test_an_error_of_the_work_passes_through_with_a_note() -> None:
    async def work() -> None:
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            raise ValueError("lost the cancellation") from None

    with pytest.RaisesGroup(ValueError) as caught:
        await sweep(work, lambda: None)
    assert caught.value.__notes__ == ["swept: cancelled at step 1, waiting"]


async def test_endless_work_is_reported() -> None:
    async def work() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match="no end after 20 steps"):
        await sweep(work, lambda: None, most=20)


async def test_a_cancellation_from_outside_is_not_the_sweeps(autojump_clock: trio.testing.MockClock) -> None:
    async def work() -> None:
        await trio.sleep(10)

    with trio.move_on_after(15) as scope:
        await sweep(work, lambda: None)
        pytest.fail("unreachable: the second and the third run take 10 seconds each")  # pragma: no cover
    assert scope.cancelled_caught
