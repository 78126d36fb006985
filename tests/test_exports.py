"""What the package promises to others, name by name. A name that goes breaks somebody; one that comes is a promise, so both change this file."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

import trioproxy

EXPORTS = {
    "trioproxy": {
        *("__version__", "open_gateway", "Gateway", "Config", "load_config", "Record"),
        *("Request", "Tool", "ToolChoice", "Response", "fold", "Usage", "FinishReason", "Fault", "FaultKind"),
        *("Event", "Started", "ItemOpened", "TextDelta", "RefusalDelta", "ThoughtDelta", "ArgumentsDelta", "Sealed", "Annotated"),
        *("ItemClosed", "Metered", "Finished", "Failed", "Foreign"),
        *("TrioproxyError", "ConfigError", "ProtocolError", "LocalProtocolError", "RemoteProtocolError", "FaultError"),
    },
    "trioproxy.testing.memory": {"memory_gateway", "MemoryGateway", "Visit", "Answer"},
    "trioproxy.testing.order": {"check_chat_stream", "check_responses_stream", "frames"},
    "trioproxy.testing.scripted": {"ScriptedBackend", "ScriptedReply", "Script", "Call", "Sleep", "Raise", "Close"},
    "trioproxy.testing.strategies": {"answers", "chop", "citations", "cuts", "faults", "json_arguments", "names", "texts", "usages"},
    "trioproxy.testing.sweep": {"sweep"},
}


def public(module: ModuleType) -> set[str]:
    own = (name for name, value in vars(module).items() if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__)
    return set(getattr(module, "__all__", own))


@pytest.mark.parametrize("name", EXPORTS)
def test_public_names_are_these(name: str) -> None:
    assert public(importlib.import_module(name)) == EXPORTS[name]


@pytest.mark.parametrize("name", sorted(EXPORTS["trioproxy"]))
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(trioproxy, name) is not None
    assert name in dir(trioproxy)


def test_importing_the_package_loads_none_of_its_servers() -> None:
    """A command that prints its version must not pay for an event loop."""
    code = "import sys, trioproxy; print(trioproxy.__version__, *(name for name in ('trio', 'h11', 'cattrs', 'click') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [trioproxy.__version__]
