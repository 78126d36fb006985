"""The simulated model as a server of its own: `GET /v1/models`, the paths of the dialects it was given, and `GET /stats`.

It is a real backend as far as the wire is concerned: heads, chunks, cuts and silences happen on a socket, and what became of each request is counted, so that
a test can see from outside whether a cancellation arrived.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import trio

from trioproxy.dialects.base import Dialect
from trioproxy.errors import HttpError
from trioproxy.framing.json import dumps
from trioproxy.harness.backend import SimulatedBackend, SimulatedReply
from trioproxy.harness.simulate import Ending
from trioproxy.harness.steering import BASES
from trioproxy.model.fault import Fault, FaultKind
from trioproxy.wire.connection import Connection, ServerLimits
from trioproxy.wire.listen import accept_loop, open_listeners
from trioproxy.wire.sentry import Sentry
from trioproxy.wire.server import Server

CONNECTIONS: Final = 16_384
_CREATED: Final = 1_795_000_000  # a model that was never trained has no birthday: any constant will do
_JSON: Final = [(b"content-type", b"application/json")]
Handler: TypeAlias = Callable[[Connection], Awaitable[None]]


@attrs.define(eq=False)
class Stats:
    """Counters since the start; `active` is the number of answers under way now.

    `served` answers went out whole (error answers that the model's name asked for too), `cut` were cut by us on demand, `cancelled` ended because the caller
    left. Together with `active` they add up to `requests`.
    """

    requests: int = 0
    active: int = 0
    served: int = 0
    cut: int = 0
    cancelled: int = 0
    connections: int = 0


async def serve_mock(
    address: str,
    dialects: Sequence[Dialect],
    speed: float = 1.0,
    seed: int = 0,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled.

    Args:
        address: `host:port`; port 0 takes a free one.
        dialects: spoken here, each on its own paths; other paths are 404.
        speed: how much faster than real time it answers; infinite for no delays.
        seed: other seeds give other answers.
        task_status: is told the URL, `http://host:port`, once connections are accepted.

    Raises:
        OSError, ValueError: the address cannot be listened on.
    """
    listeners = open_listeners([address])
    try:
        sentry = Sentry()
        async with trio.open_nursery() as nursery:
            await nursery.start(sentry.run)
            house = _House(dialects, speed, seed, sentry)
            server = Server(nursery, ServerLimits(), house.handle, house.refuse, sentry)
            for listener in listeners:
                nursery.start_soon(accept_loop, listener, house.counted(server), lambda: CONNECTIONS - server.connections)
            host, port = listeners[0].getsockname()[:2]
            task_status.started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    finally:
        for listener in listeners:
            listener.close()


class _House:
    """What all connections share."""

    def __init__(self, dialects: Sequence[Dialect], speed: float, seed: int, sentry: Sentry) -> None:
        self.stats = Stats()
        self._sentry = sentry
        self._words = dialects[0]  # in which errors are worded that belong to no dialect
        self._routes: dict[tuple[str, str], Handler] = {("GET", "/v1/models"): self._models, ("GET", "/stats"): self._stats}
        for dialect in dialects:
            backend = SimulatedBackend("mock", dialect, speed, seed)
            for face in dialect.faces:
                self._routes[face.method, face.path] = self._model(backend)

    def counted(self, server: Server) -> Callable[[Any], None]:
        """`server.accept`, counting."""

        def accept(sock: Any) -> None:
            self.stats.connections += 1
            server.accept(sock)

        return accept

    async def handle(self, connection: Connection) -> None:
        """Answer one request."""
        head = connection.head
        assert head is not None
        path = head.path.rstrip("/")
        if handler := self._routes.get((head.method, path)):
            await handler(connection)
        elif head.method == "GET" and path.removeprefix("/v1/models/") in BASES:
            await _send_doc(connection, _model_doc(path.rpartition("/")[2]))
        else:
            raise HttpError(404, f"Unknown request URL: {head.method} {head.path[:200]}")

    def refuse(self, error: HttpError, path: str) -> tuple[int, Sequence[tuple[bytes, bytes]], bytes]:
        """Word what the wire refuses."""
        kind = FaultKind.NOT_FOUND if error.status == 404 else FaultKind.INVALID if error.status < 500 else FaultKind.INTERNAL
        status, body = self._words.write_fault(Fault(kind, str(error), status=error.status))
        return status, _JSON, body

    async def _models(self, connection: Connection) -> None:
        await _send_doc(connection, {"object": "list", "data": [_model_doc(name) for name in BASES]})

    async def _stats(self, connection: Connection) -> None:
        await _send_doc(connection, attrs.asdict(self.stats))

    def _model(self, backend: SimulatedBackend) -> Handler:
        async def answer(connection: Connection) -> None:
            reply = backend.answer(await connection.body())
            self.stats.requests += 1
            self.stats.active += 1
            try:
                await self._answer(connection, reply)
            finally:
                self.stats.active -= 1
                reply.close()

        return answer

    async def _answer(self, connection: Connection, reply: SimulatedReply) -> None:
        """Send the reply; whatever ends it early is counted as what it was."""
        left = True
        try:
            with trio.CancelScope() as scope, self._sentry.watching(connection.transport, scope):
                await _send(connection, reply)
                left = False
        finally:
            if left:
                self.stats.cancelled += 1
            elif reply.complete:
                self.stats.served += 1
            else:
                self.stats.cut += 1


async def _send(connection: Connection, reply: SimulatedReply) -> None:
    headers = list(reply.headers.items())
    if reply.headers[b"content-type"] == b"application/json" and reply.ending is Ending.WHOLE:
        await connection.respond(reply.status, headers, await _whole(reply))
        return
    # A real server says 200 before the model has said a word.
    await connection.transport.send_all(connection.head_bytes(reply.status, headers, None))
    while data := await reply.receive():
        await connection.transport.send_all(connection.frame(data))
    if reply.complete:
        await connection.transport.send_all(connection.last())


async def _whole(reply: SimulatedReply) -> bytes:
    parts = []
    while data := await reply.receive():
        parts.append(data)
    return b"".join(parts)


async def _send_doc(connection: Connection, doc: Mapping[str, Any]) -> None:
    await connection.respond(200, _JSON, dumps(doc))


def _model_doc(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "trioproxy"}
