"""Secrets that can be had anew, one at a time.

A backend that says 401 may mean that the secret was rotated. Then whoever can re-read it does so once, for all exchanges that met the same refusal;
the others wait for the outcome and go on with the new secret.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import attrs
import trio

from trioproxy.pool.credential import Secret
from trioproxy.pool.pool import Lease

Source: TypeAlias = Callable[[], Awaitable[Secret | None]]
Key: TypeAlias = tuple[str, str]  # backend, credential
REST_S: Final = 5.0  # after a refresh that brought nothing new, the next one waits so long


@attrs.define(eq=False)
class _Flight:
    source: Source
    lock: trio.Lock = attrs.field(factory=trio.Lock)
    rest_until: float = 0.0


class Refresher:
    """The single flight that renews a credential's secret."""

    def __init__(self, sources: Mapping[Key, Source] | None = None) -> None:
        self._flights = {key: _Flight(source) for key, source in (sources or {}).items()}

    async def refresh(self, lease: Lease) -> bool:
        """Give the lease a secret other than the one that was refused, renewing it if nobody has; False when there is none.

        An `OSError` or `ValueError` of the source counts as none: the refusal stands, and is what the client hears of.
        """
        flight = self._flights.get((lease.credential.backend, lease.credential.name))
        if flight is None:
            return False
        async with flight.lock:
            if lease.adopt():
                return True
            if trio.current_time() < flight.rest_until:
                return False
            try:
                secret = await flight.source()
            except (OSError, ValueError):
                secret = None
            if secret is None or secret == lease.credential.secret:
                flight.rest_until = trio.current_time() + REST_S
                return False
            lease.renew(secret)
            return True
