"""One guard for the whole house: sees clients leave, keeps idle connections, and ends the waits that last too long.

Rule 1: a socket is enrolled in the epoll set once in its life and re-armed only when its part changes, so that watching an exchange costs two
attribute stores and no system call. While its connection works, the registration is edge-triggered on the peer's leaving alone (FIN, RST); a leaving
between two exchanges is remembered and told to the next. While it is parked, the first byte wakes it, once. Rule 2: a descriptor number proves
nothing: each event is matched with the transport enrolled under it, and an entry is forgotten before its descriptor is closed. Rule 3: no
task, scope or timer per connection that is parked; one tick a second serves them all, and none runs when there is nobody to serve.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Literal, Protocol, TypeAlias

import trio

from trioproxy.wire.transport import StreamTransport, Transport

TICK_S: Final = 1.0
POLL_S: Final = 0.05  # where there is no epoll, watched sockets are looked at so often
BATCH: Final = 512
LEFT: Final = "client disconnected"
HalfClose: TypeAlias = Literal["gone", "answer"]
Wake: TypeAlias = Callable[[Transport, bool], None]


class Cancellable(Protocol):
    """A `trio.CancelScope`, or what stands for several of them."""

    def cancel(self, reason: str | None = None) -> None:
        """End it."""


class _Post:
    """One enrolled transport: watched while it has a scope, parked while it has a wake."""

    __slots__ = ("armed", "enrolled", "fd", "fresh", "gone", "scope", "since", "transport", "wake")

    def __init__(self, transport: Transport, fd: int) -> None:
        self.transport = transport
        self.fd = fd  # -1: not a descriptor but a stream
        self.scope: Cancellable | None = None
        self.wake: Wake | None = None
        self.since = 0  # the tick at which it was parked
        self.enrolled = False
        self.fresh = False
        self.armed = False
        self.gone = False


class Watch:
    """A context in which the peer's leaving cancels a scope. `gone` tells afterwards whether it did leave."""

    __slots__ = ("_post", "_scope", "_sentry", "_transport")

    def __init__(self, sentry: Sentry, transport: Transport, scope: Cancellable) -> None:
        self._sentry = sentry
        self._transport = transport
        self._scope = scope

    @property
    def gone(self) -> bool:
        """Whether the peer was seen to leave."""
        return self._post.gone

    def __enter__(self) -> Watch:
        self._post = post = self._sentry._watched(self._transport)
        post.scope = self._scope
        if post.gone:
            self._scope.cancel(reason=LEFT)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._post.scope = None


class Sentry:
    """See the module. `run` must be running for anything to happen.

    Attributes:
        resting: scopes of connections that wait for a next request, with the tick at which each is to be cancelled.
        closing: no further request is wanted of any connection.
        tick: seconds the house has had somebody to serve; the unit of every `due`.
    """

    def __init__(self, *, idle_s: float = 75.0, half_close: HalfClose = "gone", use_epoll: bool = hasattr(select, "epoll")) -> None:
        """Make the set.

        Args:
            idle_s: seconds a parked connection may stay; 0 means for ever.
            half_close: whether a client's FIN while its answer is due counts as leaving, or only a reset does.
            use_epoll: False takes the slow portable way: watched sockets are peeked at 20 times a second, nothing is parked, and who leaves behind
                unread bytes, or resets after a half-close, is found out only when we write.
        """
        self.resting: dict[trio.CancelScope, int] = {}
        self.tick = 0
        self.closing = False
        self._idle_ticks = int(idle_s) if idle_s else sys.maxsize
        self._half_close = half_close
        self._posts: dict[Transport, _Post] = {}
        self._numbers: dict[int, _Post] = {}  # by descriptor, as events name them
        self._parked: dict[_Post, None] = {}  # oldest first
        self._bell = trio.lowlevel.ParkingLot()
        self._epoll: Any = select.epoll() if use_epoll and sys.platform == "linux" else None
        self._leaving: int = select.EPOLLET | (select.EPOLLRDHUP if half_close == "gone" else 0) if self._epoll is not None else 0

    @property
    def parks(self) -> bool:
        """Whether idle connections can be kept without a task here."""
        return self._epoll is not None

    @property
    def parked(self) -> int:
        """How many connections are parked."""
        return len(self._parked)

    def watching(self, transport: Transport, scope: Cancellable) -> Watch:
        """Return a context in which `scope` is cancelled with reason "client disconnected" as soon as the peer is gone, or when it is already.

        One watch at a time for a transport.
        """
        return Watch(self, transport, scope)

    def park(self, transport: Transport, wake: Wake, *, fresh: bool = False) -> None:
        """Keep an idle connection without a task; close it, if the sentry has ended.

        Args:
            transport: has a descriptor. It is closed when the peer leaves or after `idle_s`.
            wake: called once when bytes have come: `wake(transport, soon)`, soon if they came within two ticks of an earlier answer.
            fresh: it has not served a request yet, so its first may be on the way: a house that closes lets it stay two ticks more.
        """
        if self._epoll is None:
            transport.close()
            return
        post = self._post(transport)
        post.wake, post.since, post.fresh = wake, self.tick, fresh
        post.armed = False
        self._parked[post] = None
        self._arm(post, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT)
        self.ring()
        if self.closing:
            self._dismiss(post)

    def forget(self, transport: Transport) -> None:
        """Strike a transport off, best before it is closed. Unknown ones are no error."""
        post = self._posts.pop(transport, None)
        if post is None:
            return
        self._parked.pop(post, None)
        if self._numbers.get(post.fd) is post:
            del self._numbers[post.fd]
            if post.enrolled and transport.fileno() is not None:
                self._epoll.unregister(post.fd)

    def dismiss(self) -> None:
        """Close what is parked and cancel what rests: no next request is wanted. What comes later is dismissed at once."""
        self.closing = True
        for post in list(self._parked):
            self._dismiss(post)
        for scope in list(self.resting):
            scope.cancel(reason="the house closes")

    def ring(self) -> None:
        """Wake the tick: there is somebody to serve."""
        self._bell.unpark_all()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled; then what is parked is closed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen if self._epoll is not None else self._poll)
                nursery.start_soon(self._beat)
                task_status.started()
        finally:
            self._end()

    def _end(self) -> None:
        """Close what is parked. Connections that still unwind may watch and forget: it has no effect any more."""
        self.closing = True
        for post in list(self._parked):
            self._close(post)
        for post in self._posts.values():
            post.enrolled = False
        if self._epoll is not None:
            trio.lowlevel.notify_closing(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    async def _listen(self) -> None:
        fd = self._epoll.fileno()
        while True:
            await trio.lowlevel.wait_readable(fd)
            for number, events in self._epoll.poll(0, BATCH):
                post = self._numbers.get(number)
                if post is not None:
                    self._noticed(post, events)

    def _noticed(self, post: _Post, events: int) -> None:
        ended = events & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR)
        if post.wake is None:
            if ended:
                self._gone(post)
            return
        if ended and not _has_bytes(post.transport):
            self._close(post)
            return
        wake, post.wake = post.wake, None
        del self._parked[post]
        wake(post.transport, not post.fresh and self.tick - post.since < 2)

    def _gone(self, post: _Post) -> None:
        post.gone = True
        if post.scope is not None:
            post.scope.cancel(reason=LEFT)

    def _dismiss(self, post: _Post) -> None:
        if post.fresh:
            post.since = min(post.since, self.tick + 2 - self._idle_ticks)
        elif not _has_bytes(post.transport):
            self._close(post)

    def _close(self, post: _Post) -> None:
        self.forget(post.transport)
        post.transport.close()

    async def _beat(self) -> None:
        while True:
            while not self._parked and not self.resting:
                await self._bell.park()
            await trio.sleep(TICK_S)
            self.tick += 1
            for scope in [scope for scope, due in self.resting.items() if due <= self.tick]:
                scope.cancel(reason="idle")
            self._expire()

    def _expire(self) -> None:
        late = []
        for post in self._parked:
            if post.since + self._idle_ticks <= self.tick:
                late.append(post)
            elif not self.closing:
                break  # oldest first, until the house closes and shortens some
        for post in late:
            self._close(post)

    async def _poll(self) -> None:
        while True:
            await trio.sleep(POLL_S)
            for post in list(self._posts.values()):
                if post.scope is not None and not post.gone and _left(post.transport, self._half_close):
                    self._gone(post)

    def _watched(self, transport: Transport) -> _Post:
        post = self._post(transport)
        if not post.armed:
            post.armed = True
            if isinstance(transport, StreamTransport):
                transport.watch(lambda broken: self._gone(post) if broken or self._half_close == "gone" else None)
            else:
                self._arm(post, self._leaving)
        return post

    def _post(self, transport: Transport) -> _Post:
        post = self._posts.get(transport)
        if post is not None:
            return post
        fd = transport.fileno()
        if fd is None and not isinstance(transport, StreamTransport):
            raise trio.ClosedResourceError("a closed transport cannot be watched")
        post = self._posts[transport] = _Post(transport, -1 if fd is None else fd)
        if fd is not None:
            self._numbers[fd] = post  # an older entry is of a transport that was closed without a word
        return post

    def _arm(self, post: _Post, events: int) -> None:
        if self._epoll is None:
            return
        if post.enrolled:
            self._epoll.modify(post.fd, events)
        else:
            self._epoll.register(post.fd, events)
            post.enrolled = True


def _has_bytes(transport: Transport) -> bool:
    """Whether unread bytes stand before the peer's end, or instead of it."""
    try:
        return bool(transport.peek())
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return False


def _left(transport: Transport, half_close: HalfClose) -> bool:
    try:
        return transport.peek() == b"" and half_close == "gone"
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return True
