"""A self-hosted gateway for language models.

The public names, loaded when they are first used: a command that only prints its version should not pay for a web server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers see of the table below
    # ruff: noqa: F401
    from trioproxy.config.load import load as load_config
    from trioproxy.config.schema import Config
    from trioproxy.errors import ConfigError, FaultError, LocalProtocolError, ProtocolError, RemoteProtocolError, TrioproxyError
    from trioproxy.gateway.gateway import Gateway, open_gateway
    from trioproxy.model.events import (
        Annotated,
        ArgumentsDelta,
        Event,
        Failed,
        Finished,
        Foreign,
        ItemClosed,
        ItemOpened,
        Metered,
        RefusalDelta,
        Sealed,
        Started,
        TextDelta,
        ThoughtDelta,
    )
    from trioproxy.model.fault import Fault, FaultKind
    from trioproxy.model.fold import Response, fold
    from trioproxy.model.request import Request, Tool, ToolChoice
    from trioproxy.model.usage import FinishReason, Usage
    from trioproxy.observe.record import Record

__version__ = "0.1.0.dev0"

_HOMES = {
    "trioproxy.config.load": ("load_config",),
    "trioproxy.config.schema": ("Config",),
    "trioproxy.errors": ("ConfigError", "FaultError", "LocalProtocolError", "ProtocolError", "RemoteProtocolError", "TrioproxyError"),
    "trioproxy.gateway.gateway": ("Gateway", "open_gateway"),
    "trioproxy.model.events": (
        "Annotated",
        "ArgumentsDelta",
        "Event",
        "Failed",
        "Finished",
        "Foreign",
        "ItemClosed",
        "ItemOpened",
        "Metered",
        "RefusalDelta",
        "Sealed",
        "Started",
        "TextDelta",
        "ThoughtDelta",
    ),
    "trioproxy.model.fault": ("Fault", "FaultKind"),
    "trioproxy.model.fold": ("Response", "fold"),
    "trioproxy.model.request": ("Request", "Tool", "ToolChoice"),
    "trioproxy.model.usage": ("FinishReason", "Usage"),
    "trioproxy.observe.record": ("Record",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # the table above says where each lives
    "__version__",
    *_HOME_OF,
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), "load" if name == "load_config" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
