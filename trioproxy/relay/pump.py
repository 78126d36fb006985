"""The hot loop: one receive, one batch, one write."""

from __future__ import annotations

from typing import TypeVar

from trioproxy.model.fault import Fault, FaultKind
from trioproxy.pool.outcome import Outcome, Stalled
from trioproxy.relay.backend import Reply
from trioproxy.relay.codec import Codec
from trioproxy.relay.metronome import Metronome
from trioproxy.relay.outlet import Outlet

T = TypeVar("T")


def _mute() -> Outcome:
    return Stalled(Fault(FaultKind.TIMEOUT, "the backend said nothing of substance in time", code="upstream_mute"))


async def pump(reply: Reply, codec: Codec[T], outlet: Outlet[T], metronome: Metronome, mute_at: float) -> T | None:
    """Carry one streamed answer.

    Returns what the codec said last when the terminal event came (not yet delivered), or None when the body ended or an error came before substance.
    The only checkpoints are `receive` and, when the client is slow, `drained`.

    Raises:
        RemoteProtocolError: the backend answered wrongly.
    """
    receive, feed, offer = reply.receive, codec.feed, outlet.offer
    outlet.heard_at = metronome.now
    outlet.flowing = True
    outlet.tether.expect(mute_at, _mute)
    while not codec.spoken:
        if not (data := await receive()):
            return None
        outlet.heard_at = now = metronome.now
        out = feed(data)
        if codec.ended and codec.fault is None:
            return out
        if codec.fault is not None and not codec.spoken:
            return None
        if out and not offer(out, now):
            await outlet.drained()
    outlet.tether.expect(float("inf"), _mute)
    while data := await receive():
        outlet.heard_at = now = metronome.now
        out = feed(data)
        if codec.ended:
            return out
        if out and not offer(out, now):
            await outlet.drained()
    return None
