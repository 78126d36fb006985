"""Where a backend is, and a connected socket to it.

Rule 1: whatever could bend a request (a user, a query, a control character) is no base URL. Rule 2: names are resolved and their addresses raced by
trio; an address that is a number is dialled without that machinery, which costs more than the dial.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from typing import Final
from urllib.parse import urlsplit

import attrs
import trio

from trioproxy.errors import LocalProtocolError

TARGET: Final = re.compile(r"/[!-~]*")
PORTS: Final = {"http": 80, "https": 443}


@attrs.frozen
class Origin:
    """Where a backend is reached: scheme (`http` or `https`), host (a name or an address without brackets), port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> tuple[Origin, str]:
        """Split a base URL.

        Returns:
            The origin, and the base path without a slash at its end: `""` or `/v1`.

        Raises:
            LocalProtocolError: not http(s), no host, a user, a query, a fragment, or anything that could bend a request.
        """
        if not url.isprintable() or " " in url:  # `urlsplit` would strip some of it
            raise LocalProtocolError(f"{url!r} is not a base URL: it holds a space or a control character")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise LocalProtocolError(f"{url!r} is not a base URL: {exc}") from exc
        host = _ascii_host(parts.hostname or "", url)
        path = parts.path.rstrip("/")
        if parts.scheme not in PORTS:
            raise LocalProtocolError(f"{url!r} is not a base URL: it must start with http:// or https://")
        if parts.username is not None or parts.password is not None or "?" in url or "#" in url:
            raise LocalProtocolError(f"the base URL of {host} must not hold a user, a query or a fragment")
        if port == 0 or (path and not TARGET.fullmatch(path)):
            raise LocalProtocolError(f"{url!r} is not a base URL: bad port or path")
        return cls(parts.scheme, host, PORTS[parts.scheme] if port is None else port), path

    @property
    def authority(self) -> str:
        """The value of the Host field: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


async def connected(host: str, port: int) -> socket.socket:
    """A connected non-blocking socket. Names are resolved, and their addresses raced, by trio."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        stream = await trio.open_tcp_stream(host, port)
        return socket.socket(fileno=stream.socket.detach())
    sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        failure = sock.connect_ex((host, port))
        if failure == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except BaseException:
        trio.lowlevel.notify_closing(sock)
        sock.close()
        raise
    if failure:
        trio.lowlevel.notify_closing(sock)
        sock.close()
        raise OSError(failure, os.strerror(failure))
    return sock


def _ascii_host(host: str, url: str) -> str:
    try:
        name = host.encode("idna").decode("ascii") if not host.isascii() else host
    except UnicodeError as exc:
        raise LocalProtocolError(f"{url!r} has no usable host: {exc}") from exc
    if not re.fullmatch(r"[a-z0-9._:%-]+", name):
        raise LocalProtocolError(f"{url!r} has no usable host")
    return name
