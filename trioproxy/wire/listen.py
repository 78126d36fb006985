"""Listening sockets and the loop that accepts from them.

Rule 1: a full house pauses, it never spins: no descriptors left, or no room for a connection, means a rest of 100 ms with the backlog
held by the kernel. Rule 2: this file starts nothing itself: what is accepted is handed to a function that may not wait.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

import trio

LOG: Final = logging.getLogger("trioproxy.wire")
BACKLOG: Final = 4096
BURST: Final = 64  # connections per wake: others must have their turn
PAUSE_S: Final = 0.1
SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})  # a name's address that this machine does not have
FATAL: Final = frozenset({errno.EBADF, errno.ENOTSOCK, errno.EINVAL, errno.EOPNOTSUPP, errno.EFAULT})


def open_listeners(addresses: Sequence[str], *, reuse_port: bool = False) -> list[socket.socket]:
    """Bind and listen on every address; all of them or none.

    Args:
        addresses: `host:port`, `[::1]:0`; a name that means several addresses is bound on each that this machine has.
        reuse_port: let several processes share the port (SO_REUSEPORT).

    Returns:
        Non-blocking listening sockets, at least one for each address.

    Raises:
        OSError: with the address in the message.
        ValueError: an address that is not `host:port`.
    """
    listeners: list[socket.socket] = []
    try:
        for address in addresses:
            listeners += _open(address, reuse_port=reuse_port)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def split_address(address: str) -> tuple[str, int]:
    """`[::1]:80` → (`::1`, 80). Raises ValueError with the address in it."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise ValueError(f"{address!r} is not an address: expected host:port or [host]:port")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"{address!r} is not an address: the port must be a number from 0 to 65535")
    return (host[1:-1] if bracketed else host), int(port)


def bound_url(listener: socket.socket) -> str:
    """The URL under which a listener on this machine is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def accept_loop(listener: socket.socket, start: Callable[[socket.socket], None], capacity: Callable[[], int]) -> None:
    """Accept until cancelled, or until the listener is closed with `trio.lowlevel.notify_closing`.

    Args:
        listener: a non-blocking listening socket; not closed here.
        start: takes over an accepted socket; must neither wait nor raise.
        capacity: how many connections there is room for now.
    """
    short = False
    while listener.fileno() >= 0:
        try:
            await trio.lowlevel.wait_readable(listener)
        except trio.ClosedResourceError:
            return
        room = capacity()
        if room <= 0:
            await trio.sleep(PAUSE_S)
        elif accept_waiting(listener, start, min(room, BURST)):
            short = False
        else:
            if not short:
                LOG.warning("no descriptors or buffers left: accepting pauses")
            short = True
            await trio.sleep(PAUSE_S)


def accept_waiting(listener: socket.socket, start: Callable[[socket.socket], None], most: int) -> bool:
    """Accept what waits in the backlog, up to `most`.

    Returns:
        False when the system ran out of something, so that trying again at once is no use.
    """
    for _ in range(most):
        try:
            client, _address = listener.accept()
        except BlockingIOError:
            break
        except OSError as exc:
            if exc.errno in SHORTAGE:
                return False
            if exc.errno in FATAL:
                raise
            continue  # this one peer left before we came to it
        start(client)
    return True


def _open(address: str, *, reuse_port: bool) -> list[socket.socket]:
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as exc:
        raise OSError(f"cannot listen on {address}: {exc}") from exc
    listeners: list[socket.socket] = []
    failure: OSError | None = None
    for family, _kind, _protocol, _name, place in dict.fromkeys(found):
        try:
            listeners.append(_bind(family, place, reuse_port=reuse_port))
        except OSError as exc:
            failure = exc
            if exc.errno not in ABSENT:
                break
    if failure is not None and (not listeners or failure.errno not in ABSENT):
        for listener in listeners:
            listener.close()
        raise OSError(failure.errno, f"cannot listen on {address}: {os.strerror(failure.errno or 0)}") from failure
    return listeners


def _bind(family: int, place: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes], *, reuse_port: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
