"""The hot loop: one receive, one batch, one write."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TypeVar

from trioproxy.model.fault import Fault, FaultKind
from trioproxy.pool.outcome import Outcome, Stalled
from trioproxy.relay.backend import Reply
from trioproxy.relay.codec import Codec
from trioproxy.relay.metronome import Metronome
from trioproxy.relay.outlet import Outlet
from trioproxy.wire.client import Reply as WireReply

T = TypeVar("T")


def _mute() -> Outcome:
    return Stalled(Fault(FaultKind.TIMEOUT, "the backend said nothing of substance in time", code="upstream_mute"))


async def pump(reply: Reply, codec: Codec[T], outlet: Outlet[T], metronome: Metronome, mute_at: float) -> T | None:
    """Carry one streamed answer.

    Returns what the codec said last when the terminal event came (not yet delivered), or None when the body ended or an error came before substance.

    Raises:
        RemoteProtocolError: the backend answered wrongly.
    """
    feed, offer = codec.feed, outlet.offer
    outlet.heard_at = metronome.now
    outlet.flowing = True
    outlet.tether.expect(mute_at, _mute)
    over, spoken, last = False, False, None

    def take(data: bytes) -> bool:
        """Carry one piece. False: the answer is over, or the client is slow."""
        nonlocal over, spoken, last
        outlet.heard_at = now = metronome.now
        out = feed(data)
        if codec.fault is not None:
            out = outlet.veiled(out)
        if codec.ended and codec.spoken:
            over, last = True, out
            return False
        if not spoken:
            if codec.spoken:
                spoken = True
                outlet.tether.expect(inf, _mute)
            elif codec.fault is not None:
                over = True
                return False
        return not out or offer(out, now)

    while not over and not await _flow(reply, take):
        if not over:
            await outlet.drained()
    return last


async def _flow(reply: Reply, take: Callable[[bytes], bool]) -> bool:
    """Hand the body on until it ends (True) or `take` returns False (False)."""
    if isinstance(reply, WireReply):
        return await reply.flow(take)
    while data := await reply.receive():
        if not take(data):
            return False
    return True
