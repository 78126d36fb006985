"""Processes of a run: started in sessions of their own, watched through /proc, ended by their id.

CPU time comes from `schedstat` (nanoseconds) of every thread of the process tree; `stat` also has what ended children used, in ticks of 10 ms,
and is believed where it says clearly more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """What a process tree has used so far: CPU seconds, resident bytes."""

    cpu_s: float
    rss: int


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the command's name, which may hold anything."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> list[int]:
    """`root` and everything below it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(PROC):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(stat_of(int(entry))[1]), []).append(int(entry))
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def usage(root: int) -> Usage:
    exact, ticks, rss = 0.0, 0, 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            fields = stat_of(pid)
            ticks += sum(map(int, fields[11:15])) if pid == root else int(fields[11]) + int(fields[12])
            rss += int(fields[21]) * PAGE
            for thread in os.listdir(PROC / str(pid) / "task"):
                exact += int((PROC / str(pid) / "task" / thread / "schedstat").read_text().split()[0]) / 1e9
    rough = ticks / TICK
    return Usage(rough if rough > exact * 1.05 + 0.05 else exact, rss)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def ask(port: int, path: str, *, post: bool = False, timeout: float = 5.0) -> bytes:
    """One small request to a loopback server. Raises OSError where nobody answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=b"" if post else None)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        body: bytes = answer.read()
    return body


class Process:
    """One server of the bench, from `start` to `stop`."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], work: Path) -> None:
        self.name, self.log = name, work / f"{name}.log"
        self.started_at = time.monotonic()
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(command, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    @property
    def pid(self) -> int:
        return self.child.pid

    def wait_for_port(self, port: int, within_s: float = 20.0) -> float:
        """Seconds from the start to the first connection taken.

        Raises:
            RuntimeError: the process ended, or the time is over; the message has the end of its log.
        """
        deadline = self.started_at + within_s
        while time.monotonic() < deadline and self.child.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return time.monotonic() - self.started_at
            time.sleep(0.01)
        raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-2000:]}")

    def quiet(self, within_s: float = 10.0) -> None:
        """Wait until it has worked off what the last run left behind."""
        deadline, before = time.monotonic() + within_s, usage(self.pid).cpu_s
        while time.monotonic() < deadline:
            time.sleep(0.2)
            if (now := usage(self.pid).cpu_s) - before < 0.02:
                return
            before = now

    def stop(self) -> None:
        """End the process and what it started: asked first, made to after five seconds."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.child.wait(5)
