"""Heads as bytes: header fields that cannot bend a message, and the head of an answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, TypeAlias

from trioproxy.errors import LocalProtocolError

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus}


def fields(headers: Headers) -> bytes:
    """Return header fields as lines.

    Raises:
        LocalProtocolError: a name or value holds a line end or a NUL. The value, which may be a key, is not shown.
    """
    lines = b"".join([b"%b: %b\r\n" % pair for pair in headers])
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers) or b"\0" in lines:
        raise LocalProtocolError("a header field holds a line end or a NUL")
    return lines


def answer_head(status: int, headers: Headers, framing: bytes) -> bytes:
    """Return the head of an answer. `framing`: whole lines that say how its body and its connection end."""
    line = STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return b"%b%b%b%b\r\n" % (line, fields(headers), _house_lines(), framing)


_made: list[tuple[int, bytes]] = [(0, b"")]  # the second for which the lines below were made, and they


def _house_lines() -> bytes:
    """Date and Server: the same for a whole second."""
    now = int(time.time())
    second, lines = _made[0]
    if now != second:
        lines = b"date: %b\r\nserver: trioproxy\r\n" % formatdate(now, usegmt=True).encode("ascii")
        _made[0] = (now, lines)
    return lines
