"""Who may import whom. The table is the rule; a broken sentence is the failure's message."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import trioproxy

ROOT = Path(trioproxy.__file__).parent
EVERY = {"attrs", "model", "errors"}
# layer -> what it may import besides the standard library and itself. `*`: any other layer of ours.
MAY = {
    "": {"*"},
    "model": EVERY,
    "errors": EVERY,
    "framing": {"errors", "orjson"},
    "observe": EVERY,
    "pool": EVERY,
    "routing": EVERY | {"pool"},
    "dialects": EVERY | {"framing", "orjson"},
    "hooks": EVERY | {"dialects", "observe", "relay.call"},
    "wire": {"attrs", "errors", "framing", "h11", "trio"},
    "config": EVERY | {"pool", "cattrs", "dialects"},
    "store": EVERY | {"trio", "orjson"},
    "relay": EVERY | {"dialects", "pool", "routing", "hooks", "wire", "observe", "store", "framing", "trio"},
    "harness": EVERY | {"dialects", "relay", "framing", "trio"},
    "gateway": EVERY | {"relay", "config", "dialects", "pool", "routing", "hooks", "wire", "observe", "store", "harness", "framing", "trio"},
    "cli": {"attrs", "errors", "gateway", "config", "click", "trio", "version"},
    "testing": {"*", "attrs", "trio", "orjson", "hypothesis", "pytest"},
    "__main__": {"cli"},
}
# Of the standard library: who alone may have it, and who may not.
ONLY = {"socket": {"wire", "testing"}, "ssl": {"wire", "testing"}, "select": {"wire"}, "asyncio": set(), "threading": set()}
NEVER = {"time": {"model", "framing", "dialects", "pool", "routing"}, "random": {"model", "framing", "dialects", "pool", "routing"}}
PURE = {"random.Random"}  # a type, and a generator that was handed in; not the module's own


def files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def layer_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py").replace("__init__", "")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything a file imports, wherever in the file."""
    package = ("trioproxy", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            yield from ((node.lineno, ".".join([*base, *filter(None, [node.module]), alias.name])) for alias in node.names)


def broken(layer: str, name: str, path: Path) -> str | None:
    first, _, rest = name.partition(".")
    if first == "trioproxy":
        parts = rest.replace("__version__", "version").split(".")
        folder = ROOT / "dialects" / "".join(parts[1:2])
        if layer == parts[0] == "dialects" and folder.is_dir() and path.parent not in {folder, ROOT / "dialects"}:
            return f"a dialect never names another dialect: {name}"
        return None if parts[0] == layer or MAY[layer] & {parts[0], ".".join(parts[:2]), "*"} else f"{layer} must not import {name}"
    if first in ONLY and layer not in ONLY[first]:
        return f"{layer} must not import {first}: only {sorted(ONLY[first]) or 'nobody'} may"
    if layer in NEVER.get(first, ()) and name not in PURE:
        return f"{layer} must not import {name}: now is an argument, and so is chance"
    third = first in {"attrs", "cattrs", "click", "h11", "orjson", "trio", "hypothesis", "pytest"}
    return f"{layer} must not import {first}" if third and first not in MAY[layer] else None


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_flow_down(path: Path) -> None:
    layer = layer_of(path)
    assert layer in MAY, f"{layer} is a layer that the table does not know"
    assert [f"line {line}: {sentence}" for line, name in imports(path) if (sentence := broken(layer, name, path))] == []
