"""Takes the secret that was sent out of what a backend says about it: some repeat it in their complaint, in whatever form it has.

Only complaints are looked at, so nobody pays for this while all goes well.
"""

from __future__ import annotations

import attrs

from trioproxy.dialects.scrub import MASK
from trioproxy.model.fault import Fault
from trioproxy.pool.pool import Lease


def secret_of(lease: Lease) -> str | None:
    """What must not be seen of this lease; None where nothing was sent."""
    secret = lease.credential.secret
    return secret.reveal() if secret is not None else None


def veiled(data: bytes, secret: str | None) -> bytes:
    """Bytes for a client, without it."""
    return data.replace(secret.encode(), MASK.encode()) if secret else data


def veiled_fault(fault: Fault, secret: str | None) -> Fault:
    """A fault, without it."""
    if not secret or (secret not in fault.message and (fault.raw is None or secret.encode() not in fault.raw)):
        return fault
    raw = veiled(fault.raw, secret) if fault.raw is not None else None
    return attrs.evolve(fault, message=fault.message.replace(secret, MASK), raw=raw)
