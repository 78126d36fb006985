"""One question to a model, in process: the whole gateway, without a socket for the client."""

from __future__ import annotations

import sys
from typing import Final

import click
import trio

from trioproxy.config.schema import Config
from trioproxy.gateway.gateway import open_gateway
from trioproxy.model.events import ArgumentsDelta, Event, Failed, Finished, ItemClosed, ItemKind, ItemOpened, RefusalDelta, TextDelta, ThoughtDelta
from trioproxy.model.request import Request
from trioproxy.model.usage import FinishReason

WHOLE: Final = (FinishReason.STOP, FinishReason.TOOL_CALLS)


def run(config: Config, model: str, text: str, instructions: str | None) -> int:
    """Ask, print, and return the exit code: 1 when the answer was a fault."""
    return trio.run(_ask, config, Request.of(model, text, instructions=instructions))


async def _ask(config: Config, request: Request) -> int:
    printer = Printer()
    async with open_gateway(config) as gateway, gateway.ask(request) as stream:
        async for batch in stream:
            for event in batch:
                printer.show(event)
            sys.stdout.flush()
    return printer.end()


class Printer:
    """Events → text: what the model says to stdout, what it thinks and asks for to stderr."""

    def __init__(self) -> None:
        self._failed = False
        self._ended = False
        self._said = ""
        self._names: dict[int, str] = {}
        self._loud = False  # something was written to stderr that has no line end yet

    def show(self, event: Event) -> None:
        """Print what `event` adds."""
        match event:
            case TextDelta() | RefusalDelta():
                self._hush()
                self._said = event.text or self._said
                click.echo(event.text, nl=False)
            case ThoughtDelta():
                self._whisper(event.text)
            case ItemOpened(kind=ItemKind.FUNCTION | ItemKind.CUSTOM):
                self._hush()
                self._whisper(f"{event.name} ")
                self._names[event.index] = event.name
            case ArgumentsDelta():
                self._whisper(event.text)
            case ItemClosed() if event.index in self._names:
                self._hush()
            case Failed():
                self._failed = self._ended = True
                self._close()
                click.echo(f"trioproxy: {event.fault.message}", err=True)
            case Finished():
                self._ended = True
                self._close()
                if event.reason not in WHOLE:
                    click.echo(f"trioproxy: the answer was cut: {event.reason.value}", err=True)

    def end(self) -> int:
        """The exit code, once no more events come."""
        if not self._ended:
            self._close()
            click.echo("trioproxy: the answer has no end", err=True)
        return int(self._failed or not self._ended)

    def _whisper(self, text: str) -> None:
        click.echo(text, nl=False, err=True)
        self._loud = bool(text) and not text.endswith("\n")

    def _hush(self) -> None:
        if self._loud:
            click.echo(err=True)
            self._loud = False

    def _close(self) -> None:
        self._hush()
        if self._said and not self._said.endswith("\n"):
            click.echo()
