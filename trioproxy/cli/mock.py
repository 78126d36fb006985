"""The simulated backend as a program."""

from __future__ import annotations

import signal
from collections.abc import Coroutine
from functools import partial
from typing import Any

import click
import trio

from trioproxy.cli import UNBOUND, CommandError, said
from trioproxy.dialects import DIALECTS
from trioproxy.harness.server import serve_mock


def run(listen: str, dialects: tuple[str, ...], seed: int, speed: float) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        CommandError: the address cannot be listened on.
    """
    try:
        trio.run(_serve, partial(serve_mock, listen, [DIALECTS[name] for name in dialects], speed, seed))
    except* (OSError, ValueError) as group:
        raise CommandError(said(group.exceptions[0]), UNBOUND) from None


async def _serve(serve: partial[Coroutine[Any, Any, None]]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve)
            click.echo(url)
            async for _ in signals:
                nursery.cancel_scope.cancel(reason="asked to stop")
                break
