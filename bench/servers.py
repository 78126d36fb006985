"""What stands between the clients and the fake upstream: the gateway and its peers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trioproxy-bench"
PEER_PACKAGES = ("uvicorn", "httptools", "uvloop", "httpx", "starlette")


@dataclass(frozen=True)
class Server:
    """One contender. `command(port, upstream_port, work)`; `missing` says why it cannot take part, or None."""

    name: str
    about: str
    command: Callable[[int, int, Path], list[str]]
    env: Callable[[int], Mapping[str, str]] = field(default=lambda upstream: {})
    missing: Callable[[], str | None] = field(default=lambda: None)
    translates: bool = False


def filled(template: str, port: int, upstream: int, work: Path) -> Path:
    """A configuration made of a file in peers/."""
    text = (HERE / "peers" / template).read_text()
    for name, value in (("PORT", port), ("UPSTREAM", upstream), ("WORK", work)):
        text = text.replace(f"@{name}@", str(value))
    path = work / template
    path.write_text(text)
    return path


def trioproxy(port: int, upstream: int, work: Path) -> list[str]:
    return [sys.executable, "-m", "trioproxy", "serve", "--config", str(filled("trioproxy.toml", port, upstream, work))]


def nginx_path() -> str | None:
    return shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")


def nginx(port: int, upstream: int, work: Path) -> list[str]:
    return [nginx_path() or "nginx", "-p", str(work), "-e", str(work / "nginx-error.log"), "-c", str(filled("nginx.conf", port, upstream, work))]


def relay(port: int, upstream: int, work: Path) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    return [str(CACHE / "relay" / "bin" / "uvicorn"), "--app-dir", str(HERE / "peers"), "uvicorn_httpx:app", *options]


def install_peers() -> None:
    """Make the relay's virtual environment."""
    venv.create(CACHE / "relay", with_pip=True)
    subprocess.run([CACHE / "relay" / "bin" / "python", "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)


SERVERS = (
    Server(
        "nginx", "nginx proxy_pass, 1 worker, not buffered", nginx, missing=lambda: None if nginx_path() else "nginx is not installed (Debian: nginx-light)"
    ),
    Server(
        "uvicorn-httpx",
        "uvicorn (uvloop, httptools) + httpx, bytes handed on",
        relay,
        env=lambda upstream: {"UPSTREAM": f"http://127.0.0.1:{upstream}"},
        missing=lambda: None if (CACHE / "relay" / "bin" / "uvicorn").exists() else "its packages are not installed: python bench/run.py --install-peers",
    ),
    Server("trioproxy", "this gateway, as it starts by default", trioproxy, translates=True),
)
