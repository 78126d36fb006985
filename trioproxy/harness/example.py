"""A JSON value that satisfies a JSON schema.

It serves structured output and tool arguments of the simulated model, so it covers what clients generate from types: objects, arrays, scalars with bounds,
`enum`, `const`, `anyOf`/`oneOf`/`allOf`, and `$ref` into the same document, recursive ones too. It does not satisfy `pattern`, `not`, `if` or dependencies
between properties.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any, Final

import attrs

_SHALLOW: Final = 4  # levels on which optional properties and empty arrays are filled in
_DEEPEST: Final = 40  # a schema that demands more has no finite value
_BUDGET: Final = 5_000  # schemas looked at for one value: recursion in several branches grows fast
_FORMATS: Final[Mapping[str, str]] = {
    "date": "2026-11-22",
    "time": "15:11:00Z",
    "date-time": "2026-11-22T15:11:00Z",
    "duration": "PT42M",
    "email": "model@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.42",
    "ipv6": "2001:db8::2a",
    "uri": "https://example.org/42",
    "uuid": "00000000-0000-4000-8000-00000000002a",
}
_LONGEST: Final = 100_000  # characters: a string that must be longer is not made


@attrs.define(eq=False)
class Hints:
    """Words and numbers of the conversation that make a value look meant; each is used up in its turn."""

    words: list[str] = attrs.field(factory=list)
    numbers: list[float] = attrs.field(factory=list)


class Example:
    """Makes values for `schema` and the schemas inside it."""

    def __init__(self, schema: Mapping[str, Any], rng: random.Random, hints: Hints | None = None) -> None:
        self._root = schema
        self._rng = rng
        self._hints = hints or Hints()
        self._budget = _BUDGET

    def value(self) -> Any:
        """One value of the whole schema; of one that makes no sense, something.

        Raises:
            ValueError: a keyword has a value of the wrong type.
        """
        try:
            return self._make(self._root, "value", 0)
        except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
            raise ValueError(f"not a JSON schema: {error}") from error

    def _make(self, schema: Any, name: str, depth: int) -> Any:
        self._budget -= 1
        if not isinstance(schema, Mapping) or depth > _DEEPEST or self._budget < 0:
            return None
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._choose(list(schema["enum"]))
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                rest = {each: value for each, value in schema.items() if each != key}
                return self._make(_merge(rest, self._branch(schema[key], depth)), name, depth + 1)
        return self._typed(schema, name, depth)

    def _typed(self, schema: Mapping[str, Any], name: str, depth: int) -> Any:
        match _type(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "string":
                return self._string(schema, name)
            case "integer":
                return int(self._number(schema, whole=True))
            case "number":
                return self._number(schema, whole=False)
            case "boolean":
                return self._rng.random() < 0.5
        return None

    def _resolve(self, schema: Mapping[str, Any], depth: int = 0) -> Mapping[str, Any]:
        """Follow `$ref` and take `allOf` together."""
        for _ in range(_DEEPEST):
            self._budget -= 1
            if isinstance(schema.get("$ref"), str):
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = _merge(self._lookup(schema["$ref"]), rest)
            elif schema.get("allOf"):
                whole: Mapping[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
                for part in schema["allOf"]:
                    whole = _merge(whole, self._resolve(part, depth + 1) if isinstance(part, Mapping) and depth < _SHALLOW else {})
                schema = whole
            else:
                break
        return schema

    def _lookup(self, reference: str) -> Mapping[str, Any]:
        here: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            step = step.replace("~1", "/").replace("~0", "~")
            if step:
                here = here.get(step) if isinstance(here, Mapping) else None
        return here if isinstance(here, Mapping) else {}

    def _branch(self, branches: list[Any], depth: int) -> Mapping[str, Any]:
        """Something rather than null near the root; the simplest one where recursion has to end."""
        known = [self._resolve(each) for each in branches if isinstance(each, Mapping)]
        simple = [each for each in known if _type(each) not in ("object", "array", "null")]
        null = [each for each in known if _type(each) == "null"]
        if depth > _SHALLOW and (null or simple):
            return (null or simple)[0]
        return next((each for each in known if _type(each) != "null"), known[0] if known else {})

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        required = schema.get("required") or []
        wanted = [key for key in properties if key in required or depth < _SHALLOW]
        wanted += [key for key in required if key not in properties]
        return {key: self._make(properties.get(key, {"type": "string"}), key, depth + 1) for key in wanted}

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        prefix: list[Any] = schema.get("prefixItems") or []
        count = max(schema.get("minItems", 0), len(prefix), 2 if depth < _SHALLOW else 0)
        count = min(count, schema.get("maxItems", count))
        items = schema.get("items")
        rest = items if isinstance(items, Mapping) else {"type": "string"}
        made: list[Any] = []
        for place in range(min(count, _BUDGET)):
            value = self._make(prefix[place] if place < len(prefix) else rest, name, depth + 1)
            if not (schema.get("uniqueItems") and value in made):
                made.append(value)
        return made

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        form = _FORMATS.get(str(schema.get("format")))
        if form is not None:
            return form
        text = self._hints.words.pop(0) if self._hints.words else f"some {name.replace('_', ' ')}"
        text = text.ljust(min(schema.get("minLength", 0), _LONGEST), ".")
        return text[: schema.get("maxLength", len(text))]

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> float:
        low, high = _bounds(schema, whole)
        given = next((each for each in self._hints.numbers if low <= each <= high and (not whole or each == int(each))), None)
        if given is not None:
            self._hints.numbers.remove(given)
        number = given if given is not None else self._between(low, high, whole)
        step = schema.get("multipleOf")
        if step and number % step:
            number = math.ceil(low / step) * step if math.isfinite(low) else 0
        return number

    def _between(self, low: float, high: float, whole: bool) -> float:
        low = low if math.isfinite(low) else min(0, high)
        high = high if math.isfinite(high) else low + 100
        return self._rng.randint(math.ceil(low), math.floor(high)) if whole else round(self._rng.uniform(low, high), 3) if high - low > 0.01 else low

    def _choose(self, values: list[Any]) -> Any:
        spoken = next((word for word in self._hints.words if word in values), None)
        return spoken if spoken is not None else self._rng.choice(values)


def _type(schema: Mapping[str, Any]) -> str | None:
    """The type to make; where the schema does not say, what its other keys imply."""
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((str(each) for each in kind if each != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _bounds(schema: Mapping[str, Any], whole: bool) -> tuple[float, float]:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    gap = 1 if whole else 1e-6
    if isinstance(above := schema.get("exclusiveMinimum"), int | float) and not isinstance(above, bool):
        low = max(low, above + gap)
    if isinstance(below := schema.get("exclusiveMaximum"), int | float) and not isinstance(below, bool):
        high = min(high, below - gap)
    return low, high


def _merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both schemas at once: properties and requirements add up, of anything else the second one's word counts."""
    merged = {**one, **other}
    if "properties" in one and "properties" in other:
        merged["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        merged["required"] = [*one["required"], *(key for key in other["required"] if key not in one["required"])]
    return merged
