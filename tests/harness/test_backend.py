"""The simulated backend speaks its dialect, on a schedule that does not drift."""

import math
from typing import Any, TypeAlias

import attrs
import orjson
import pytest
import trio

from tests.harness.stub import STUB, Encoder
from trioproxy.harness.backend import SimulatedBackend, SimulatedReply
from trioproxy.harness.simulate import Ending
from trioproxy.model.events import Event
from trioproxy.testing.sweep import sweep

LEASE: Any = object()


def body(model: str, **fields: Any) -> bytes:
    return orjson.dumps({"model": model, "text": "hi", **fields})


async def drain(reply: SimulatedReply) -> list[tuple[float, bytes]]:
    found = []
    while data := await reply.receive():
        found.append((round(trio.current_time(), 6), data))
    return found


class IdEncoder(Encoder):
    def encode(self, events: list[Event]) -> bytes:
        return self.setting.id.encode()


Clock: TypeAlias = trio.testing.MockClock


@pytest.fixture
async def backend() -> SimulatedBackend:
    return SimulatedBackend("sim", STUB)


async def test_a_stream_comes_in_time(autojump_clock: Clock, backend: SimulatedBackend) -> None:
    reply = await backend.open(LEASE, body("mock-n3-d20-t500"), stream=True)
    assert (reply.status, reply.headers[b"content-type"]) == (200, b"text/event-stream")
    assert await drain(reply) == [(0.0, b"<mock-n3-d20-t500 32>\n"), (0.5, b"and"), (0.52, b" so"), (0.54, b" the\n[4]\nstop\n")]
    assert reply.complete


async def test_a_late_reader_gets_all_that_was_due_at_once(autojump_clock: Clock, backend: SimulatedBackend) -> None:
    reply = await backend.open(LEASE, body("mock-n9-d100"), stream=True)
    await trio.sleep(0.45)
    received = await drain(reply)
    assert [when for when, _ in received] == [0.45, 0.5, 0.6, 0.7, 0.8]
    assert received[0][1] == b"<mock-n9-d100 32>\nand so the simulated"


async def test_speed_divides_every_delay(autojump_clock: Clock) -> None:
    reply = await SimulatedBackend("sim", STUB, speed=10).open(LEASE, body("mock-n2-d100-t500"), stream=True)
    assert [when for when, _ in await drain(reply)] == [0.0, 0.05, 0.06]
    assert await drain(await SimulatedBackend("sim", STUB, speed=math.inf).open(LEASE, body("demo"), stream=False))
    assert trio.current_time() == pytest.approx(0.06)


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan])
def test_no_speed_is_no_speed(speed: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        SimulatedBackend("sim", STUB, speed)


async def test_a_plain_answer_waits_for_all_of_it(autojump_clock: Clock, backend: SimulatedBackend) -> None:
    reply = await backend.open(LEASE, body("mock-n3-d20-t500"), stream=False)
    assert await drain(reply) == [(0.54, b'["and so the"]')]
    assert (reply.complete, reply.headers[b"content-type"]) == (True, b"application/json")


async def test_ids_differ_between_answers_and_repeat_between_runs(autojump_clock: Clock, backend: SimulatedBackend) -> None:
    again = SimulatedBackend("sim", attrs.evolve(STUB, Encoder=IdEncoder))
    backend.dialect = again.dialect
    first, second = [await drain(await each.open(LEASE, body("mock-z"), stream=True)) for each in (backend, backend)]
    assert first != second
    assert [await drain(await again.open(LEASE, body("mock-z"), stream=True)) for _ in range(2)] == [first, second]


@pytest.mark.parametrize(
    ("request_body", "status", "kind"),
    [
        (b"{", 400, "invalid"),
        (b"[]", 400, "invalid"),
        (body("gpt-5"), 404, "not_found"),
        (body("mock-e429"), 429, "rate_limited"),
        (body("mock-e503"), 503, "overloaded"),
        (body("mock-e500"), 500, "internal"),
        (body("mock-g"), 200, "overloaded"),
    ],
)
async def test_errors_are_worded_in_the_dialect(autojump_clock: Clock, backend: SimulatedBackend, request_body: bytes, status: int, kind: str) -> None:
    reply = await backend.open(LEASE, request_body, stream=False)
    ((_, data),) = await drain(reply)
    assert (reply.status, orjson.loads(data)["kind"], reply.complete) == (status, kind, True)
    assert (b"retry-after" in reply.headers) == (status in (429, 503))


async def test_a_stream_that_fails_in_band_says_200(autojump_clock: Clock, backend: SimulatedBackend) -> None:
    reply = await backend.open(LEASE, body("mock-g"), stream=True)
    assert reply.status == 200
    assert [data for _, data in await drain(reply)] == [b"<mock-g 32>\n!overloaded\n"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_leaves_the_reply_incomplete(autojump_clock: Clock, backend: SimulatedBackend, stream: bool) -> None:
    reply = await backend.open(LEASE, body("mock-n9-x2"), stream=stream)
    data = b"".join(data for _, data in await drain(reply))
    assert (reply.complete, reply.ending, data) == (False, Ending.CUT, b"<mock-n9-x2 32>\nand so" if stream else b"{")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stall_only_ends_by_cancellation(autojump_clock: Clock, backend: SimulatedBackend, stream: bool) -> None:
    reply = await backend.open(LEASE, body("mock-n9-s2"), stream=stream)
    with trio.move_on_after(3600) as scope:
        await drain(reply)
    assert scope.cancelled_caught
    assert not reply.complete


async def test_a_closed_reply_gives_nothing_more(autojump_clock: Clock, backend: SimulatedBackend) -> None:
    reply = await backend.open(LEASE, body("mock"), stream=True)
    reply.close()
    reply.close()
    with pytest.raises(trio.ClosedResourceError):
        await reply.receive()


async def test_can_be_cancelled_anywhere(autojump_clock: Clock, backend: SimulatedBackend) -> None:
    async def exchange() -> None:
        reply = await backend.open(LEASE, body("mock-n5"), stream=True)
        try:
            await drain(reply)
        finally:
            reply.close()

    assert await sweep(exchange, lambda: None) > 5
