"""Work, counted in bytes: what a reader searched, copied or compared. A budget in bytes holds on a slow machine too."""

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import attrs
import pytest


@attrs.define
class Work:
    bytes: int = 0


_work = Work()


class Counted(bytes):
    """Bytes that count what is done with them. Looking at one place is free."""

    def _count(self, size: int | None = None) -> None:
        _work.bytes += len(self) if size is None else size

    def split(self, *args: Any) -> list[bytes]:
        self._count()
        return super().split(*args)

    def partition(self, *args: Any) -> tuple[bytes, bytes, bytes]:
        self._count()
        return super().partition(*args)

    def count(self, *args: Any) -> int:
        self._count()
        return super().count(*args)

    def find(self, needle: Any, *bounds: Any) -> int:
        searched = range(len(self))[slice(*(*bounds, None)[:2])]
        found = super().find(needle, *bounds)
        self._count(len(searched) if found < 0 else found - searched.start)
        return found

    def rfind(self, *args: Any) -> int:
        self._count()
        return super().rfind(*args)

    def replace(self, *args: Any) -> "Counted":
        self._count()
        return Counted(super().replace(*args))

    def lstrip(self, *args: Any) -> "Counted":
        self._count()
        return Counted(super().lstrip(*args))

    def removeprefix(self, prefix: Any, /) -> "Counted":
        return Counted(super().removeprefix(prefix))

    def __contains__(self, item: Any) -> bool:
        self._count()
        return super().__contains__(item)

    def __add__(self, other: Any) -> "Counted":
        self._count(len(self) + len(other))
        return Counted(super().__add__(other))

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, int):
            return found
        self._count(len(found))
        return Counted(found)


def _copied(data: Any = b"") -> Counted:
    _work.bytes += len(data)
    return Counted(data)


class _Kept(bytearray):
    def __init__(self, data: Any = b"") -> None:
        _work.bytes += len(data)
        super().__init__(data)

    def __iadd__(self, other: Any) -> "_Kept":  # type: ignore[misc]  # it gives itself, as bytearray does
        _work.bytes += len(other)
        super().__iadd__(other)
        return self


@contextmanager
def counting(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    """Count the copies `module` makes with `bytes` and `bytearray`, and whatever it does with a `Counted`."""
    _work.bytes = 0
    with monkeypatch.context() as patch:
        patch.setattr(module, "bytes", _copied, raising=False)
        patch.setattr(module, "bytearray", _Kept, raising=False)
        yield _work
    assert builtins.bytes is bytes
