"""What a simulated model's name asks of it.

A name is a base, `demo` or `mock`, and options joined by `-`: `mock-n200-d20-u`. An option is a letter and, for most, a number. Options may come in any order;
one that is given twice counts as it was given last. A name of any other form is no model of ours, and the caller is told so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from trioproxy.errors import FaultError
from trioproxy.model.fault import Fault, FaultKind
from trioproxy.model.usage import FinishReason

BASES: Final[tuple[str, ...]] = ("demo", "mock")

# Letter → (largest number it takes, what it does). 0 as the largest: the letter takes no number.
OPTIONS: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {
        "n": (100_000, "the answer has that many text deltas (mock: 20)"),
        "d": (600_000, "milliseconds between two deltas (mock: 10; demo: about 17, with jitter)"),
        "t": (600_000, "milliseconds before the first delta (mock: 0; demo: 250)"),
        "r": (100_000, "that many deltas of reasoning come first"),
        "k": (64, "that many parallel tool calls, where tools are offered and the last item is no tool result"),
        "e": (599, "answer with that HTTP status, 400 to 599, and an error body; 429 and 503 say Retry-After"),
        "x": (100_000, "cut the connection after that many deltas"),
        "s": (100_000, "fall silent after that many deltas, until the caller leaves"),
        "g": (0, "status 200, but the body (or the stream) is an error"),
        "u": (0, "leave the token counts out"),
        "z": (0, "an empty answer"),
        "l": (0, "the answer stops because the token limit was reached"),
        "f": (0, "the answer stops because of a content filter"),
        "q": (0, "the model refuses, in words"),
    }
)

_OPTION: Final = re.compile(r"([a-z])([0-9]{0,6})")


@attrs.frozen
class Steering:
    """The options of a model's name; None where the name does not say."""

    base: str
    deltas: int | None = None
    gap_s: float | None = None
    first_s: float | None = None
    thoughts: int | None = None
    calls: int | None = None
    status: int | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    error_in_band: bool = False
    unmetered: bool = False
    empty: bool = False
    refusal: bool = False
    finish: FinishReason | None = None


def steer(model: str) -> Steering:
    """Read the options off a model's name.

    Raises:
        FaultError: NOT_FOUND, as a backend would answer for a model that it does not have.
    """
    base, *words = model.split("-")
    if base not in BASES:
        raise _unknown(model, f"there are {' and '.join(BASES)}, with options")
    options: dict[str, int] = {}
    for word in words:
        letter, number = _option(model, word)
        options[letter] = number
    return _steering(base, options)


def _option(model: str, word: str) -> tuple[str, int]:
    match = _OPTION.fullmatch(word)
    if not match or match[1] not in OPTIONS:
        raise _unknown(model, f"no option reads {word[:16]!r}")
    most = OPTIONS[match[1]][0]
    number = int(match[2] or 0)
    if bool(match[2]) != bool(most) or number > most or (match[1] == "e" and number < 400):
        raise _unknown(model, f"option {match[1]!r} takes {f'a number up to {most}' if most else 'no number'}")
    return match[1], number


def _steering(base: str, options: Mapping[str, int]) -> Steering:
    finish = FinishReason.LENGTH if "l" in options else FinishReason.CONTENT_FILTER if "f" in options else None
    return Steering(
        base,
        deltas=options.get("n"),
        gap_s=options["d"] / 1000 if "d" in options else None,
        first_s=options["t"] / 1000 if "t" in options else None,
        thoughts=options.get("r"),
        calls=options.get("k"),
        status=options.get("e"),
        cut_after=options.get("x"),
        stall_after=options.get("s"),
        error_in_band="g" in options,
        unmetered="u" in options,
        empty="z" in options,
        refusal="q" in options,
        finish=finish,
    )


def _unknown(model: str, why: str) -> FaultError:
    return FaultError(Fault(FaultKind.NOT_FOUND, f"The simulated backend has no model '{model[:64]}': {why}.", code="model_not_found", param="model"))
