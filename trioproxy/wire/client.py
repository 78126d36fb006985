"""HTTP/1.1 towards a backend: one origin, its idle connections, one request at a time on each.

Rule 1: head and body leave in one send; the answer's head is read strictly, its body framed here. Rule 2: a connection is used again only after
a complete answer on a clean one, with nothing unread; it is looked at once more before it is used. Rule 3: nothing is retried, redirected or decoded
here. Rule 4: whoever leaves early, by error or cancellation, closes the socket. Rule 5: no deadline but the dial's: the house's clock cancels from outside.
"""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Callable
from typing import Final

import trio

from trioproxy.errors import BrokenError, ConnectError, LocalProtocolError, RemoteProtocolError, StaleError
from trioproxy.framing.chunked import ChunkedReader
from trioproxy.wire.dial import TARGET, Origin, connected
from trioproxy.wire.flows import Flows
from trioproxy.wire.gate import parse_response_head
from trioproxy.wire.heads import Headers, fields
from trioproxy.wire.tls import TlsTransport, default_context
from trioproxy.wire.transport import SocketTransport, Transport

__all__ = ["Origin", "Reply", "Upstream"]

HEAD: Final = 65536
INTERIM: Final = 50  # 1xx answers before the real one
WHOLE: Final = 65536  # up to here a body is joined to its head: one copy costs less than a second system call
PREFIXES: Final = 256  # request lines remembered
BARE_LF: Final = re.compile(rb"(?<!\r)\n")
METHOD: Final = re.compile(r"[A-Z]+")


class Reply:
    """The answer to one request: its head at once, its body as it comes.

    Attributes:
        status: 200 to 599.
        headers: lower-case names; a repeated list field is joined.
        reused: the connection had served before.
        complete: the framing's own end was reached.
    """

    __slots__ = ("_chunks", "_closed", "_keep", "_left", "_rest", "_spoiled", "_transport", "_upstream", "complete", "headers", "reused", "status")

    def __init__(self, upstream: Upstream, transport: Transport, *, reused: bool) -> None:
        self._upstream = upstream
        self._transport = transport
        self._closed = False
        self._keep = False
        self._spoiled = False  # the request was not sent whole
        self._chunks: ChunkedReader | None = None
        self._left: int | None = 0  # body bytes still owed; None: until the end of the connection, or in chunks
        self._rest = b""  # received, not yet framed
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.reused = reused
        self.complete = False

    async def receive(self) -> bytes:
        """Return the next body bytes, decoded from their framing, or `b""` at the end; look at `complete` then.

        What has arrived already is returned without a checkpoint.

        Raises:
            BrokenError: the connection was reset.
            RemoteProtocolError: the framing is broken.
        """
        data, self._rest = self._rest, b""
        while not self.complete:
            if data and (body := self._framed(data)):
                return body
            if self.complete or self._closed:
                break
            try:
                data = await self._transport.receive()
            except trio.BrokenResourceError as exc:
                self._abandon()
                raise BrokenError(f"{self._upstream.origin} broke off inside its answer: {exc}") from exc
            except BaseException:
                self._abandon()
                raise
            if not data:
                self._ended()
                break
        return b""

    async def flow(self, take: Callable[[bytes], bool]) -> bool:
        """Hand the body on piece by piece, decoded from its framing, to a function that does not wait.

        With the house's reading task (`Flows`) and a plain socket, `take` is called from that task, while this one sleeps.

        Returns:
            True when the body has ended (look at `complete` then), False when `take` returned False: it wants no more for now. Call again to go on.

        Raises:
            BrokenError, RemoteProtocolError: as `receive`. What `take` raises is raised here.
        """
        flows, fd = self._upstream.flows, self._transport.fileno()
        if flows is None or not flows.able or fd is None or not isinstance(self._transport, SocketTransport):
            while data := await self.receive():
                if not take(data):
                    return False
            return True
        data, self._rest = self._rest, b""
        if data and (body := self._framed(data)) and not take(body):
            return False
        over = self.complete or self._closed
        receive = self._transport.try_receive

        def turn() -> bool:
            nonlocal over
            try:
                data = receive()
            except trio.BrokenResourceError as exc:
                raise BrokenError(f"{self._upstream.origin} broke off inside its answer: {exc}") from exc
            if not data:
                if data is not None:
                    over = True
                    self._ended()
                return data is None
            body = self._framed(data)
            over = self.complete
            return (not body or take(body)) and not over

        if not over:
            try:
                await flows.read(fd, turn)
            except BaseException:
                self._abandon()
                raise
        return over

    def close(self) -> None:
        """Give the connection back if it is clean, else close it. Any number of times."""
        if self._closed:
            return
        self._closed = True
        if self.complete and self._keep and not self._rest:
            self._upstream._keep(self._transport)
        else:
            self._transport.close()

    def _abandon(self) -> None:
        self._keep = False
        self.close()

    def _framed(self, data: bytes) -> bytes:
        """The body bytes in these. Sets `complete` at the end; bytes behind it spoil the connection."""
        if self._chunks is not None:
            try:
                body = self._chunks.feed(data)
            except BaseException:
                self._abandon()
                raise
            if self._chunks.ended:
                self.complete = True
                self._keep = self._keep and not self._chunks.rest
            return body
        if self._left is None:
            return data
        body = data[: self._left]
        self._left -= len(body)
        if not self._left:
            self.complete = True
            self._keep = self._keep and len(body) == len(data)
        return body

    def _ended(self) -> None:
        """The peer closed: the end itself where nothing else marks it."""
        self._keep = False
        if self._left is None and self._chunks is None:
            self.complete = not getattr(self._transport, "ragged", False)

    async def _exchange(self, first: bytes, more: memoryview) -> None:
        data = await self._sent(first, more)
        for _ in range(INTERIM + 1):
            data, end = await self._whole_head(data)
            status, headers, length, chunked, keep = parse_response_head(data[:end])
            data = data[end:]
            if status >= 200:
                self._begin(status, headers, length, chunked=chunked, keep=keep)
                self._rest = data
                return self._settle_empty()
            if status == 101:
                raise RemoteProtocolError(f"{self._upstream.origin} switched protocols without being asked")
        raise RemoteProtocolError(f"{self._upstream.origin} sent more than {INTERIM} interim answers")

    async def _sent(self, first: bytes, more: memoryview) -> bytes:
        """Send the request and return the first bytes of the answer."""
        transport = self._transport
        try:
            await transport.send_all(first)
            if more:
                await transport.send_all(more)
        except trio.BrokenResourceError as exc:
            return self._early_answer(exc)
        try:
            data = await transport.receive()
        except trio.BrokenResourceError as exc:
            raise self._lost(str(exc)) from exc
        if not data:
            raise self._lost("it closed without an answer")
        return data

    def _early_answer(self, exc: trio.BrokenResourceError) -> bytes:
        """A backend that refuses a body answers and closes while we still send: the answer may be here already."""
        try:
            data = self._transport.try_receive()
        except trio.BrokenResourceError:
            data = None
        if not data:
            raise self._lost(str(exc)) from exc
        self._spoiled = True
        return data

    def _lost(self, why: str) -> RemoteProtocolError:
        error = StaleError if self.reused else BrokenError
        return error(f"{self._upstream.origin} gave no answer: {why}")

    async def _whole_head(self, data: bytes) -> tuple[bytes, int]:
        """Read until a head is whole. Returns what was read, and where the head ends."""
        at = data.find(b"\r\n\r\n")
        if at < 0:
            data = await self._dripped_head(data)
            at = data.find(b"\r\n\r\n")
        if at > HEAD:
            raise RemoteProtocolError(f"{self._upstream.origin} sent a response head of more than {HEAD} bytes")
        return data, at + 4

    async def _dripped_head(self, first: bytes) -> bytes:
        data, searched = bytearray(first), 0
        while data.find(b"\r\n\r\n", max(searched - 3, 0)) < 0:
            self._suspect(data, searched)
            searched = len(data)
            try:
                more = await self._transport.receive()
            except trio.BrokenResourceError as exc:
                raise BrokenError(f"{self._upstream.origin} broke off inside a response head: {exc}") from exc
            if not more:
                raise BrokenError(f"{self._upstream.origin} closed inside a response head, after {len(data)} bytes")
            data += more
        return bytes(data)

    def _suspect(self, data: bytearray, searched: int) -> None:
        """Refuse early what will never become a head."""
        if len(data) > HEAD:
            raise RemoteProtocolError(f"{self._upstream.origin} sent a response head of more than {HEAD} bytes")
        if not data.startswith(b"HTTP/1."[: len(data)]):
            raise RemoteProtocolError(f"{self._upstream.origin} does not answer in HTTP/1.1")
        if BARE_LF.search(data, max(searched - 1, 0)):
            raise RemoteProtocolError(f"{self._upstream.origin} ends a line of its head without a carriage return")

    def _begin(self, status: int, headers: dict[bytes, bytes], length: int | None, *, chunked: bool, keep: bool) -> None:
        coding = headers.get(b"content-encoding")
        if coding is not None and coding.lower() not in (b"identity", b""):
            raise RemoteProtocolError(f"{self._upstream.origin} sent a compressed answer, which was not asked for")
        self.status, self.headers, self._keep = status, headers, keep and not self._spoiled
        if status in (204, 304):
            self._left = 0
        elif chunked:
            self._left, self._chunks = None, ChunkedReader()
        else:
            self._left = length

    def _settle_empty(self) -> None:
        """An answer without a body is complete with its head."""
        if self._left == 0:
            self.complete = True
            self._keep = self._keep and not self._rest
            self._rest = b""


class Upstream:
    """One origin and the connections to it.

    Attributes:
        dials: connections tried so far.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        idle: int = 256,
        idle_s: float = 60.0,
        connect_s: float = 5.0,
        context: ssl.SSLContext | None = None,
        flows: Flows | None = None,
    ) -> None:
        """Make it; nothing is dialled yet.

        Args:
            origin: where to.
            idle: most unused connections kept.
            idle_s: seconds an unused connection is kept; 0 means without bound.
            connect_s: seconds for name, dial and handshake together; 0 means without bound.
            context: for https; the default trusts what the system trusts.
            flows: the house's reading task, for `Reply.flow`.
        """
        self.origin = origin
        self.dials = 0
        self.flows = flows
        self._most = idle
        self._idle_s = idle_s or math.inf
        self._connect_s = connect_s or math.inf
        self._context = (context or default_context()) if origin.scheme == "https" else None
        self._idle: list[tuple[Transport, float]] = []  # the last used at the end
        self._prefixes: dict[tuple[str, str], bytes] = {}

    @property
    def idle(self) -> int:
        """Unused connections kept now."""
        return len(self._idle)

    async def request(self, method: str, target: str, headers: Headers, body: bytes, *, fresh: bool = False) -> Reply:
        """Send one request and wait for the head of its answer. The caller closes the reply.

        Args:
            method: `GET` or `POST`.
            target: path and query.
            headers: all but Host, Content-Length and Connection, which are added here.
            body: the whole body.
            fresh: dial even if a connection is idle.

        Raises:
            ConnectError: no connection; nothing was sent.
            StaleError: a connection that had been idle died before a byte of the answer.
            BrokenError: the connection died later, or was fresh.
            RemoteProtocolError: the answer is not proper HTTP/1.1, is compressed, or switches protocols.
            LocalProtocolError: method, target or a header would bend the request.
        """
        head = self._head(method, target, headers, len(body))
        transport = None if fresh else self._take()
        reply = Reply(self, transport or await self._dial(), reused=transport is not None)
        try:
            if len(body) <= WHOLE:
                await reply._exchange(head + body, memoryview(b""))
            else:
                await reply._exchange(head + body[:WHOLE], memoryview(body)[WHOLE:])
        except BaseException:
            reply._abandon()
            raise
        return reply

    def close_idle(self) -> None:
        """Close every unused connection."""
        idle, self._idle = self._idle, []
        for transport, _since in idle:
            transport.close()

    def expire(self, now: float) -> None:
        """Close the connections that have been unused for too long at `now`, a `trio.current_time()`."""
        stay = 0
        while stay < len(self._idle) and self._idle[stay][1] + self._idle_s <= now:
            self._idle[stay][0].close()
            stay += 1
        del self._idle[:stay]

    def _keep(self, transport: Transport) -> None:
        if self._most <= 0:
            transport.close()
            return
        if len(self._idle) >= self._most:
            self._idle.pop(0)[0].close()
        self._idle.append((transport, trio.current_time()))

    def _take(self) -> Transport | None:
        """The connection used last that is still clean. One that is not quiet was closed, or says what nobody asked."""
        while self._idle:
            transport, since = self._idle.pop()
            if _quiet(transport) and since + self._idle_s > trio.current_time():
                return transport
            transport.close()
        return None

    def _head(self, method: str, target: str, headers: Headers, length: int) -> bytes:
        prefix = self._prefixes.get((method, target)) or self._prefix(method, target)
        if length or method != "GET":
            return b"%b%bcontent-length: %d\r\n\r\n" % (prefix, fields(headers), length)
        return b"%b%b\r\n" % (prefix, fields(headers))

    def _prefix(self, method: str, target: str) -> bytes:
        if not METHOD.fullmatch(method) or not TARGET.fullmatch(target) or "#" in target:
            raise LocalProtocolError(f"{method!r} {target!r} is not a request")
        if len(self._prefixes) >= PREFIXES:
            self._prefixes.clear()
        prefix = f"{method} {target} HTTP/1.1\r\nhost: {self.origin.authority}\r\n".encode("ascii")
        self._prefixes[method, target] = prefix
        return prefix

    async def _dial(self) -> Transport:
        self.dials += 1
        with trio.move_on_after(self._connect_s):
            try:
                sock = await connected(self.origin.host, self.origin.port)
            except OSError as exc:
                raise ConnectError(f"{self.origin} cannot be reached: {exc.strerror or exc}") from exc
            if self._context is None:
                return SocketTransport(sock)
            return await TlsTransport.connect(sock, self._context, self.origin.host)
        raise ConnectError(f"{self.origin} was not connected within {self._connect_s:g} s")


def _quiet(transport: Transport) -> bool:
    """Whether the peer has neither left nor said anything."""
    try:
        return transport.peek() is None
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return False
