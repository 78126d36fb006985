"""Every exception the package raises, by whose fault it is.

Two more things leave a function early: `trio.Cancelled`, which always passes through, and bugs.
"""

from __future__ import annotations

import attrs

from trioproxy.model.fault import Fault, FaultKind


class TrioproxyError(Exception):
    """The root of the package's exceptions."""


class FaultError(TrioproxyError):
    """A fault on its way up a call stack; the nearest seam makes it a value again."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@attrs.frozen
class Problem:
    """One mistake in a configuration: where, what, and what to do."""

    path: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.path}: {self.message}{hint}"


class ConfigError(TrioproxyError):
    """All that is wrong with a configuration, at once."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class ProtocolError(TrioproxyError):
    """A rule of a protocol was broken. Abstract: raise one of the two below."""

    def __init__(self, message: str, *, kind: FaultKind = FaultKind.UPSTREAM) -> None:
        if type(self) is ProtocolError:
            raise TypeError("ProtocolError is abstract: raise LocalProtocolError or RemoteProtocolError")
        super().__init__(message)
        self.kind = kind


class LocalProtocolError(ProtocolError):
    """We asked wrongly."""


class RemoteProtocolError(ProtocolError):
    """They answered wrongly. `kind` hints at the fault to report."""


class ConnectError(RemoteProtocolError):
    """No connection came about: refused, unreachable, name unknown, TLS refused. Nothing of the request was sent."""


class StaleError(RemoteProtocolError):
    """A connection that was kept idle died before a single byte of the answer; on a fresh one the request may succeed."""


class BrokenError(RemoteProtocolError):
    """The connection was reset or closed where more was owed."""


class HttpError(RemoteProtocolError):
    """A client's request that is refused before anybody read its meaning: by the head gate or by a limit of the wire.

    Attributes:
        status: HTTP status of the refusal.
        close: whether the connection must be closed after the answer (always, where framing is in doubt).
    """

    def __init__(self, status: int, message: str, *, close: bool = True) -> None:
        super().__init__(message, kind=FaultKind.INVALID)
        self.status = status
        self.close = close
