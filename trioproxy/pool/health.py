"""How a credential fares: what is out, what rests, until when.

Rule 1: time is an argument, in seconds of one monotonic clock. Rule 2: what a client can name (a model) never grows these tables without bound.

A cooldown belongs to a whole credential or to one model of it. While it lasts nobody is let in. When it is over (or, where it is long and the backend did
not itself ask for it, after `probe_after_s`) one exchange is let in on probation; only its success opens the door again.
"""

from __future__ import annotations

from typing import Final

import attrs

from trioproxy.model.fault import FaultKind
from trioproxy.pool.credential import Credential

MODELS: Final = 256  # cooldowns kept per credential: models that clients name


@attrs.define(eq=False)
class Cooldown:
    """One rest. `probe_at` ≤ `until`; `probing` while an exchange is in on probation."""

    failures: int
    until: float
    probe_at: float
    cause: FaultKind
    probing: bool = False


@attrs.define(eq=False)
class Health:
    """The state of one credential. `whole` rests all of it, `models` single models.

    `credential` is as it is used now, `configured` as it was configured: they differ in the secret once a refresh has brought another.
    """

    credential: Credential
    configured: Credential = attrs.field(default=attrs.Factory(lambda self: self.credential, takes_self=True))
    in_flight: int = 0
    served: int = 0
    failed: int = 0
    whole: Cooldown | None = None
    models: dict[str, Cooldown] = attrs.field(factory=dict)

    @property
    def name(self) -> str:
        """The credential's name."""
        return self.credential.name

    @property
    def weight(self) -> float:
        """The credential's weight."""
        return self.credential.weight

    @property
    def full(self) -> bool:
        """True while no further lease may be taken."""
        limit = self.credential.max_in_flight
        return limit is not None and self.in_flight >= limit

    def cooldowns(self, model: str, now: float, memory_s: float) -> tuple[Cooldown, ...]:
        """Those that concern `model`: none, one or two. One that has been over for `memory_s` is forgotten: old failures say nothing."""
        if self.whole is None and not self.models:  # nearly always
            return ()
        found = [(key, rest) for key in (None, model) if (rest := self.rest(key)) is not None]
        for key, rest in found:
            if now >= rest.until + memory_s and not rest.probing:
                self.drop(key)
        return tuple(rest for key, rest in found if self.rest(key) is rest)

    def drop(self, model: str | None) -> None:
        """Forget the cooldown of `model`, or of the whole credential for None."""
        if model is None:
            self.whole = None
        else:
            del self.models[model]

    def rest(self, model: str | None) -> Cooldown | None:
        """The cooldown of `model`, or of the whole credential for None."""
        return self.whole if model is None else self.models.get(model)

    def put(self, model: str | None, cooldown: Cooldown) -> None:
        """Set the cooldown of `model`, or of the whole credential for None."""
        if model is None:
            self.whole = cooldown
            return
        if model not in self.models and len(self.models) >= MODELS:
            del self.models[min(self.models, key=lambda name: self.models[name].until)]
        self.models[model] = cooldown

    def clear(self, passed: tuple[Cooldown, ...]) -> None:
        """Drop those cooldowns: a probe has succeeded."""
        if self.whole in passed:
            self.whole = None
        for model in [model for model, rest in self.models.items() if rest in passed]:
            del self.models[model]
