"""Counters and histograms, in Prometheus' text format.

Rule 1: fed once per finished exchange, never per event. Rule 2: no clock: gauges are what the caller reads off the house at scrape time.
Rule 3: a client must not be able to grow memory: the models it names are folded into names of routes, and every family has a bound, beyond which all is
counted under `other`. Rule 4: an unlabelled sum and its labelled parts come from the same record, so they always agree.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from trioproxy.observe.record import Record

SERIES: Final = 2000  # label sets per family; a house with more of them than that is folded, not forgotten
SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
OTHER: Final = "other"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@attrs.frozen
class Gauge:
    """One value as it is now. `labels` are (name, value) pairs; gauges of one name stand together and share `help`."""

    name: str
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


@attrs.define(eq=False)
class Counter:
    """Sums by label values, at most `SERIES` of them."""

    name: str
    help: str
    labels: tuple[str, ...]
    values: dict[tuple[str, ...], float] = attrs.field(factory=dict)

    def add(self, key: tuple[str, ...], amount: float = 1) -> None:
        """Count `amount` under `key`, in the order of `labels`."""
        key = _folded(key, self.values)
        self.values[key] = self.values.get(key, 0) + amount

    def lines(self) -> Iterable[str]:
        """The family as text."""
        yield from _head(self.name, self.help, "counter")
        for key, value in self.values.items():
            yield f"{self.name}{_labels(zip(self.labels, key, strict=True))} {_number(value)}"


@attrs.define(eq=False)
class _Spread:
    counts: list[int]
    total: float = 0.0


@attrs.define(eq=False)
class Histogram:
    """Seconds, sorted into `SECONDS`, by label values, at most `SERIES` of them."""

    name: str
    help: str
    labels: tuple[str, ...]
    values: dict[tuple[str, ...], _Spread] = attrs.field(factory=dict)

    def observe(self, key: tuple[str, ...], seconds: float) -> None:
        """Count one duration under `key`; a negative one counts as 0."""
        key = _folded(key, self.values)
        spread = self.values.get(key)
        if spread is None:
            spread = self.values[key] = _Spread([0] * (len(SECONDS) + 1))
        seconds = max(seconds, 0.0)
        spread.counts[bisect_left(SECONDS, seconds)] += 1
        spread.total += seconds

    def lines(self) -> Iterable[str]:
        """The family as text: cumulative buckets, sum and count."""
        yield from _head(self.name, self.help, "histogram")
        for key, spread in self.values.items():
            pairs, below = tuple(zip(self.labels, key, strict=True)), 0
            for bound, count in zip((*SECONDS, math.inf), spread.counts, strict=True):
                below += count
                yield f"{self.name}_bucket{_labels((*pairs, ('le', _number(bound))))} {below}"
            yield f"{self.name}_sum{_labels(pairs)} {_number(spread.total)}"
            yield f"{self.name}_count{_labels(pairs)} {below}"


class Metrics:
    """An observer: call it with each finished record, `render` when asked."""

    def __init__(self, label: Callable[[str], str]) -> None:
        """Start at zero. `label` maps the model a client named to one of a bounded set of names (`Plan.label`)."""
        self._label: Final = label
        self.requests: Final = Counter("trioproxy_requests_total", "Exchanges that ended.", ("dialect", "model", "outcome", "status"))
        self.attempts: Final = Counter("trioproxy_attempts_total", "Attempts on backends, the first and all others.", ("backend", "outcome", "status"))
        self.tokens: Final = Counter("trioproxy_tokens_total", "Tokens as the backends counted them.", ("model", "kind"))
        self.bytes: Final = Counter("trioproxy_bytes_total", "Bytes of request bodies in and of answers out.", ("dialect", "direction"))
        self.beats: Final = Counter("trioproxy_heartbeats_total", "Heartbeats sent into quiet answers.", ("dialect",))
        self.losses: Final = Counter("trioproxy_losses_total", "Parameters of requests that had no effect.", ("dialect",))
        self.roads: Final = Counter("trioproxy_roads_total", "Answered exchanges by whether bytes were passed on or translated.", ("dialect", "road"))
        self.first: Final = Histogram("trioproxy_first_token_seconds", "From a request's start to the model's first word.", ("dialect", "model"))
        self.duration: Final = Histogram("trioproxy_request_seconds", "From a request's start to its answer's end.", ("dialect", "model"))
        self.waited: Final = Histogram("trioproxy_queue_seconds", "Spent waiting for a credential.", ("model",))

    def __call__(self, record: Record) -> None:
        """Count one finished exchange."""
        model, dialect = self._label(record.model), record.dialect
        self.requests.add((dialect, model, record.outcome, str(record.status)))
        for attempt in record.attempts:
            self.attempts.add((attempt.backend, attempt.outcome, str(attempt.status)))
        self._volumes(record, dialect, model)
        if record.spoken_at:
            self.first.observe((dialect, model), record.spoken_at - record.started)
        if record.ended:
            self.duration.observe((dialect, model), record.ended - record.started)
        if record.attempts or record.waited:
            self.waited.observe((model,), record.waited)

    def _volumes(self, record: Record, dialect: str, model: str) -> None:
        self.bytes.add((dialect, "in"), record.bytes_in)
        self.bytes.add((dialect, "out"), record.bytes_out)
        self.beats.add((dialect,), record.beats)
        self.losses.add((dialect,), len(record.losses))
        if record.spoken_at:
            self.roads.add((dialect, "passed" if record.passed else "translated"))
        if (usage := record.usage) is not None:
            for kind in ("input", "output", "cached", "cache_written", "reasoning"):
                self.tokens.add((model, kind), getattr(usage, kind))

    def render(self, gauges: Iterable[Gauge] = ()) -> bytes:
        """Everything as text; `gauges` are added as they are. Serve it as `CONTENT_TYPE`."""
        families = (self.requests, self.attempts, self.tokens, self.bytes, self.beats, self.losses, self.roads, self.first, self.duration, self.waited)
        lines = [line for family in families for line in family.lines()]
        lines += _gauge_lines(gauges)
        return ("\n".join(lines) + "\n").encode()


def _gauge_lines(gauges: Iterable[Gauge]) -> list[str]:
    named: dict[str, list[Gauge]] = {}
    for gauge in gauges:
        named.setdefault(gauge.name, []).append(gauge)
    lines: list[str] = []
    for name, several in named.items():
        lines += _head(name, several[0].help, "gauge")
        lines += [f"{name}{_labels(one.labels)} {_number(one.value)}" for one in several]
    return lines


def _folded(key: tuple[str, ...], known: Mapping[tuple[str, ...], object]) -> tuple[str, ...]:
    return key if key in known or len(known) < SERIES else (OTHER,) * len(key)


def _head(name: str, about: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {about.replace(_BACKSLASH, _BACKSLASH * 2).replace(_NEWLINE, _BACKSLASH + 'n')}", f"# TYPE {name} {kind}"


_BACKSLASH: Final = "\\"
_NEWLINE: Final = "\n"
_ESCAPES: Final = str.maketrans({_BACKSLASH: r"\\", _NEWLINE: r"\n", '"': r"\""})


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f'{name}="{_text(value)}"' for name, value in pairs)
    return f"{{{inside}}}" if inside else ""


def _text(value: str) -> str:
    # A lone surrogate has no UTF-8; a carriage return would end the line for some readers.
    return value.translate(_ESCAPES).replace("\r", " ").encode("utf-8", "replace").decode()


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)
