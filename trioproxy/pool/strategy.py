"""Which of several free credentials is used.

Rule 1: a strategy sees only credentials that may be used now, all of one tier, in the order of the configuration, at least one.
Rule 2: what it remembers is keyed by a credential's name, never by a place in a list: the list changes with every cooldown, and a cursor into it
would favour whoever stands behind a gap.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol


class Seat(Protocol):
    """What a strategy may know of a credential."""

    @property
    def name(self) -> str:
        """Its name, unique among those that are offered together."""
        ...

    @property
    def weight(self) -> float:
        """Its share of the load, positive."""
        ...

    @property
    def in_flight(self) -> int:
        """Leases of it that are out."""
        ...


class Strategy(Protocol):
    """Chooses; `forget` drops what it remembers of all names but these."""

    def choose(self, seats: Sequence[Seat]) -> int:
        """The index of the one to use. The choice counts as taken."""
        ...

    def forget(self, kept: frozenset[str]) -> None:
        """Drop the memory of every name that is not in `kept`."""
        ...


class RoundRobin:
    """In turn, by weight: the one that has had the least for its weight is next.

    Each turn moves a credential on by 1/weight. One that was away comes back at the others' present place, so it neither catches up in a burst nor loses
    its turn; those that were there all the time have counts that differ by one at most, whatever the others did.
    """

    def __init__(self) -> None:
        self._place: dict[str, float] = {}
        self._turn: dict[str, int] = {}  # when it was last chosen; decides between equals
        self._present = 0.0
        self._turns = 0

    def choose(self, seats: Sequence[Seat]) -> int:
        """The one furthest behind; among equals the one that waited longest."""
        index = min(range(len(seats)), key=lambda i: (self._at(seats[i]), self._turn.get(seats[i].name, 0)))
        seat = seats[index]
        self._present = self._at(seat)
        self._place[seat.name] = self._present + 1 / seat.weight
        self._turns += 1
        self._turn[seat.name] = self._turns
        return index

    def _at(self, seat: Seat) -> float:
        return max(self._place.get(seat.name, 0.0), self._present)

    def forget(self, kept: frozenset[str]) -> None:
        """Drop the memory of every name that is not in `kept`."""
        self._place = {name: place for name, place in self._place.items() if name in kept}
        self._turn = {name: turn for name, turn in self._turn.items() if name in kept}


class LeastBusy:
    """The one with the fewest leases out for its weight; among equals in turn."""

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def choose(self, seats: Sequence[Seat]) -> int:
        """The least loaded one."""
        least = min(seat.in_flight / seat.weight for seat in seats)
        level = [index for index, seat in enumerate(seats) if seat.in_flight / seat.weight == least]
        return level[self._turns.choose([seats[index] for index in level])]

    def forget(self, kept: frozenset[str]) -> None:
        """Drop the memory of every name that is not in `kept`."""
        self._turns.forget(kept)


class FillFirst:
    """The first of the configuration, until it is full or cooling."""

    def choose(self, seats: Sequence[Seat]) -> int:
        """The first."""
        return 0

    def forget(self, kept: frozenset[str]) -> None:
        """Nothing is remembered."""


STRATEGIES: Final[Mapping[str, Callable[[], Strategy]]] = MappingProxyType({"round-robin": RoundRobin, "least-busy": LeastBusy, "fill-first": FillFirst})
DEFAULT_STRATEGY: Final = "round-robin"


def sticky(affinity: str, seats: Sequence[Seat]) -> int:
    """The index of the seat that `affinity` belongs to among `seats`, by weight.

    Every pair of key and name has a score of its own and the highest wins (rendezvous hashing): nothing is remembered, and when a credential is full or
    cooling only its own conversations move, to come back later.
    """
    return max(range(len(seats)), key=lambda index: _score(affinity, seats[index]))


def _score(affinity: str, seat: Seat) -> float:
    name = seat.name.encode("utf-8", "surrogatepass")
    key = len(name).to_bytes(4, "big") + name + affinity.encode("utf-8", "surrogatepass")
    draw = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
    return -seat.weight / math.log((draw + 1) / (2**64 + 1))
