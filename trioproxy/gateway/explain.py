"""What would happen to a request for a model, as a document for people."""

from __future__ import annotations

from typing import Any

import attrs

from trioproxy.dialects import DIALECTS
from trioproxy.pool.pool import Candidate
from trioproxy.pool.ruling import table
from trioproxy.relay.house import House


def explain(house: House, model: str, now: float) -> dict[str, Any]:
    """Route, credentials (masked) with their states, the codec per client dialect, and the ruling table."""
    found = house.plan.candidates(model)
    return {
        "model": model,
        "route": house.plan.label(model) if found else None,
        "candidates": [_candidate(house, one, model, now) for one in found or ()],
        "rulings": [attrs.asdict(row) for row in table()],
    }


def _candidate(house: House, candidate: Candidate, model: str, now: float) -> dict[str, Any]:
    backend = house.backends[candidate.backend]
    codecs = {name: "pass through" if dialect is backend.dialect and not backend.translate else "translate" for name, dialect in DIALECTS.items()}
    if candidate.model != model:
        codecs = {name: f"{codec}, model spliced" if codec == "pass through" else codec for name, codec in codecs.items()}
    return {
        "backend": candidate.backend,
        "model": candidate.model,
        "dialect": backend.dialect.name,
        "quirks": sorted(backend.quirks),
        "codec": codecs,
        "losses": {name: dict(backend.dialect.losses) for name, codec in codecs.items() if codec == "translate"},
        "credentials": [_standing(one) for one in house.pool.states(now) if one.backend == candidate.backend],
    }


def _standing(standing: Any) -> dict[str, Any]:
    doc = attrs.asdict(standing)
    doc["cause"] = standing.cause.value if standing.cause else None
    doc["models"] = [{"model": name, "cooling_s": seconds, "cause": cause.value} for name, seconds, cause in standing.models]
    return doc
