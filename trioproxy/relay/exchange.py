"""One exchange, top to bottom: start reading here.

    tether   one cancel scope at a time; the sentry and the metronome hold the other end
    laps     lease → attempt → settle, until the answer is told or no other try is allowed   (`laps`)
    ending   a fault that nobody has told the client yet is told in the way the stage allows
    record   whatever happened, observers hear of it once

An exchange owns no task. Whoever calls it waits for it.
"""

from __future__ import annotations

from math import inf
from typing import Protocol, TypeVar

import trio

from trioproxy.observe.record import Record
from trioproxy.relay.call import Call
from trioproxy.relay.house import House, Reader
from trioproxy.relay.laps import Laps
from trioproxy.relay.line import HttpLine
from trioproxy.relay.outlet import Line, Outlet
from trioproxy.relay.tether import Tether
from trioproxy.wire.connection import Connection

T = TypeVar("T")


class ReadingLine(Line[T], Reader[T], Protocol[T]):
    """A line that also knows how its reader wants the answer."""


async def exchange(call: Call, connection: Connection, line: HttpLine, house: House) -> Record:
    """Answer one call on a connection. Returns when the client has its last byte, or is gone."""
    now = trio.current_time()
    tether = Tether(now + (house.limits.total_s or inf))
    with house.sentry.watching(connection.transport, tether):
        record = await run(call, line, house, tether, now)
    if tether.gone is not None:
        connection.keep_alive = False
        connection.transport.close()
    return record


async def run(call: Call, line: ReadingLine[T], house: House, tether: Tether, now: float) -> Record:
    """Answer one call on any line; see `exchange`."""
    record = Record(
        call.id, call.dialect.name if call.dialect else "in-process", call.model, call.stream, now, client=call.client, peer=call.peer, bytes_in=len(call.raw)
    )
    outlet: Outlet[T] = Outlet(line, tether, record, house.limits, house.keepalive)
    house.metronome.add(outlet, now)
    try:
        await Laps(call, line, outlet, house, record).run()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        tether.cancel("client disconnected")  # a write found out before the sentry did
    finally:
        house.metronome.discard(outlet)
        record.ended = trio.current_time()
        record.bytes_out = line.sent
        for observer in house.observers:
            observer(record)
    return record
