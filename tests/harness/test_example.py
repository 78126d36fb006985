"""A generated value satisfies its schema."""

import random
from typing import Any

import pytest

from trioproxy.harness.example import Example, Hints

CASES: list[tuple[dict[str, Any], Any]] = [
    ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": "some a"}),
    ({"properties": {"a_b": {"type": "string", "maxLength": 4}}}, {"a_b": "some"}),
    ({"type": "string", "minLength": 12}, "some value.."),
    ({"type": "string", "format": "date"}, "2026-11-22"),
    ({"const": {"x": 1}}, {"x": 1}),
    ({"enum": ["only"]}, "only"),
    ({"type": ["null", "string"]}, "some value"),
    ({"type": "null"}, None),
    ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "some value"),
    ({"oneOf": [{"type": "null"}]}, None),
    ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}, "required": ["b"]}]}, {"a": 1, "b": 2}),
    ({"$ref": "#/$defs/x~1y", "$defs": {"x/y": {"const": 7}}}, 7),
    ({"type": "array", "items": {"const": 1}}, [1, 1]),
    ({"type": "array", "items": {"const": 1}, "minItems": 3}, [1, 1, 1]),
    ({"type": "array", "items": {"const": 1}, "maxItems": 0}, []),
    ({"type": "array", "items": {"const": 1}, "uniqueItems": True}, [1]),
    ({"type": "array", "prefixItems": [{"const": 1}, {"const": "x"}, {"const": None}]}, [1, "x", None]),
    ({"type": "integer", "minimum": 5, "maximum": 5}, 5),
    ({"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6}, 5),
    ({"type": "number", "minimum": 0.5, "maximum": 0.5}, 0.5),
    ({"type": "object", "required": ["free"]}, {"free": "some free"}),
    ({"type": "object", "additionalProperties": False}, {}),
    ({}, "some value"),
]


@pytest.mark.parametrize(("schema", "value"), CASES, ids=lambda each: str(each)[:40])
def test_value(schema: dict[str, Any], value: Any) -> None:
    assert Example(schema, random.Random(0)).value() == value


@pytest.mark.parametrize("seed", range(20))
def test_numbers_keep_their_bounds(seed: int) -> None:
    made = Example(
        {
            "properties": {
                "i": {"type": "integer", "minimum": -3, "maximum": 3},
                "n": {"type": "number", "exclusiveMaximum": -1.5},
                "m": {"type": "integer", "minimum": 10, "multipleOf": 7},
                "e": {"enum": [1, "two", None]},
                "b": {"type": "boolean"},
            }
        },
        random.Random(seed),
    ).value()
    assert -3 <= made["i"] <= 3
    assert type(made["i"]) is int
    assert made["n"] < -1.5
    assert made["m"] >= 10
    assert made["m"] % 7 == 0
    assert made["e"] in (1, "two", None)
    assert type(made["b"]) is bool


def test_recursion_ends_where_the_schema_lets_it() -> None:
    tree = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["name", "children"],
    }
    made = Example(tree, random.Random(0)).value()
    assert made["children"][0]["children"][0]["children"] == []
    chain = {"$defs": {"n": {"properties": {"next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}, "required": ["next"]}}, "$ref": "#/$defs/n"}
    here, length = Example(chain, random.Random(0)).value(), 0
    while here is not None:
        here, length = here["next"], length + 1
    assert length < 10


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"$ref": "other.json"},
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]},
        {"allOf": [{"$ref": "#"}]},
        {"anyOf": [True]},
        {"type": "tuple"},
        {"properties": {"a": True}},
    ],
)
def test_a_schema_without_sense_still_gives_something(schema: dict[str, Any]) -> None:
    Example(schema, random.Random(0)).value()


def test_endless_demands_are_cut_off() -> None:
    loop = {"properties": {"one": {"$ref": "#"}, "other": {"$ref": "#"}}, "required": ["one", "other"]}
    assert Example(loop, random.Random(0)).value() is not None


@pytest.mark.parametrize(
    "schema",
    [{"type": "string", "maxLength": "x"}, {"properties": ["a"]}, {"type": "number", "minimum": {}}, {"enum": 5}, {"multipleOf": "a", "type": "integer"}],
)
def test_what_is_no_schema_is_said_to_be_none(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a JSON schema"):
        Example(schema, random.Random(0)).value()


def test_hints_are_used_up_in_turn() -> None:
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "string"}, "d": {"enum": ["x", "y"]}, "e": {"type": "number"}}}
    made = Example(schema, random.Random(0), Hints(["Rome", "Oslo", "y"], [1.5, 3])).value()
    assert made == {"a": "Rome", "b": 3, "c": "Oslo", "d": "y", "e": 1.5}
