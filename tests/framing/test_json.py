"""JSON: errors name the place and never the text; a spliced document is the old one with another model."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.framing.json import BadJson, depth_over, dumps, loads, splice_model

SECRET = "sk-canary"


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"", "line 1, column 1"),
        (b'{"a": sk-canary}', "line 1, column 7"),
        (b'{"a": 1,\n "b": sk-canary}', "line 2, column 7"),
        (b'["sk-canary"', "line 1"),
        (b'{"sk-canary": "\xff"}', "line 1"),
        (b'"sk-canary \\ud800"', "line 1"),
        (b"sk-canary", "line 1, column 1"),
        (b'{"sk-canary": NaN}', "line 1"),
        (b'{"a": 1} sk-canary', "line 1"),
        (b"[" * 2000, "line 1"),
    ],
)
def test_an_error_has_the_place_and_not_the_text(raw: bytes, place: str) -> None:
    with pytest.raises(BadJson) as caught:
        loads(raw)
    assert place in str(caught.value)
    assert SECRET not in repr(caught.value)
    assert caught.value.__context__ is None, "the decoder's own error holds the whole body"


def test_a_byte_order_mark_is_forgiven_once() -> None:
    assert loads(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    with pytest.raises(BadJson):
        loads(b"\xef\xbb\xbfx")
    with pytest.raises(BadJson):
        loads(b"\xef\xbb\xbf" * 5000)


def nested(levels: int) -> Any:
    doc: Any = 1
    for level in range(levels):
        doc = [doc] if level % 2 else {"a": doc}
    return doc


def test_deep_documents_that_were_read_raise_bad_json_when_rendered() -> None:
    doc = loads(b"[" * 300 + b"]" * 300)
    with pytest.raises(BadJson, match="rendered"):
        dumps(doc)
    assert loads(dumps(nested(250))) == nested(250)


@pytest.mark.parametrize("doc", [{"a": object()}, {"a": "\ud800"}, {1: "a"}, 1 << 70, b"bytes"])
def test_what_json_cannot_say_raises_bad_json(doc: Any) -> None:
    with pytest.raises(BadJson) as caught:
        dumps(doc)
    assert caught.value.__context__ is None


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=6) | st.sampled_from(["model", "a"]), children, max_size=4),
    max_leaves=12,
)


def depth(doc: Any) -> int:
    children = doc.values() if isinstance(doc, dict) else doc if isinstance(doc, list) else None
    return 0 if children is None else 1 + max(map(depth, children), default=0)


@given(values, st.integers(0, 6), st.booleans())
def test_depth_over_counts_levels(doc: Any, limit: int, long: bool) -> None:
    raw = dumps(doc) + b" " * 20_000 * long
    assert depth_over(doc, raw, limit) == (depth(doc) > limit)


@pytest.mark.parametrize("levels", [127, 128, 129, 200])
def test_depth_over_at_the_limit_of_the_house(levels: int) -> None:
    doc = nested(levels)
    assert depth_over(doc, json.dumps(doc).encode(), 128) == (levels > 128)
    wide = {"wide": [[] for _ in range(500)], "deep": nested(levels - 1)}
    assert depth_over(wide, json.dumps(wide).encode(), 128) == (levels > 128)


KEYS = ("model", "a", "models", '"model', 'model"', "m\\odel", "mode\u2028l")
TEXTS = ("x", "model", '"model"', '"model": "x"', "\\", '\\"', 'y"model":"x', "{", "}", '{"model":"x"}', "é\u2028", "")
inner = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(TEXTS) | st.integers() | st.none(), max_size=3)
members = st.tuples(st.sampled_from(KEYS), st.sampled_from(TEXTS) | inner | st.lists(inner, max_size=2) | st.sampled_from([1, None, 1.5]))


@st.composite
def spellings(draw: st.DrawFn) -> bytes:
    """An object's text, by hand: with blanks, repeated keys, and letters spelled as escapes."""

    def blank() -> str:
        return draw(st.sampled_from(["", "", " ", "\n\t", "\r\n"]))

    def spell(text: str) -> str:
        plain = json.dumps(text, ensure_ascii=draw(st.booleans()))
        return plain.replace("d", draw(st.sampled_from(["d", "\\u0064"])), 1) if draw(st.integers(0, 5)) == 0 else plain

    def member(key: str, value: Any) -> str:
        said = spell(value) if isinstance(value, str) else json.dumps(value)
        return f"{blank()}{spell(key)}{blank()}:{blank()}{said}{blank()}"

    pairs = draw(st.lists(members, max_size=6))
    return ("{" + ",".join(member(key, value) for key, value in pairs) + "}").encode()


@given(spellings(), st.sampled_from(["new", 'n"e\\w', "é\u2028", "", "x"]))
def test_splice_gives_the_document_with_another_model(raw: bytes, new: str) -> None:
    doc = loads(raw)
    assert loads(splice_model(raw, doc, new)) == {**doc, "model": new}


SPLICED: list[tuple[bytes, bytes]] = [
    (b'{"model":"old","n":1.0}', b'{"model":"new","n":1.0}'),
    (b'{ "n" : 1e2 , "model"\n:\t"old" }', b'{ "n" : 1e2 , "model"\n:\t"new" }'),
    (b'{"n":18446744073709551616,"model":"old"}', b'{"n":18446744073709551616,"model":"new"}'),
    (b'{"tools":[{"model":{"type":"string"}}],"model":"old"}', b'{"tools":[{"model":{"type":"string"}}],"model":"new"}'),
    (b'{"model":"old","a":{"model":"other"}}', b'{"model":"new","a":{"model":"other"}}'),
    (b'{"a":"the \\"model","model":"old"}', b'{"a":"the \\"model","model":"new"}'),
    (b'{"a":"\\"model\\":\\"old\\"","model":"old"}', b'{"a":"\\"model\\":\\"old\\"","model":"new"}'),
    (b'{"a":"model","model":"old","b":["model","old"]}', b'{"a":"model","model":"new","b":["model","old"]}'),
    (b'{"model":{"a":1},"model":"old"}', b'{"model":{"a":1},"model":"new"}'),
    (b'{"model":"a","model":"old"}', b'{"model":"a","model":"new"}'),
    ('{"model":"é"}'.encode(), b'{"model":"new"}'),
]


@pytest.mark.parametrize(("raw", "spliced"), SPLICED)
def test_splice_changes_no_other_byte(raw: bytes, spliced: bytes) -> None:
    assert splice_model(raw, loads(raw), "new") == spliced


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1}',
        b'{"model":null}',
        b'{"model":["old"]}',
        b'{"model":"old","model":"old"}',
        b'{"model":"old","a":{"model":"old"}}',
        b'{"model":"old","\\u006dodel":"old"}',
        b'{"mo\\u0064el":"old"}',
        b'{"mod\\u0065l":"old","a":{"model":"old"}}',
        b'{"model":"o\\u006cd"}',
        b'{"model":"o\\/d","a":{"model":"o/d"}}',
        b'{"model":"old","model":{"a":1}}',
    ],
)
def test_splice_renders_the_unusual_anew(raw: bytes) -> None:
    doc = loads(raw)
    assert splice_model(raw, doc, "new") == dumps({**doc, "model": "new"})


def test_splice_of_a_large_body_with_many_schemas() -> None:
    raw = dumps({"model": "old", "tools": [{"name": str(number), "model": {"type": "string"}} for number in range(5000)], "last": "model"})
    assert splice_model(raw, {"model": "old"}, "new") == raw.replace(b'"old"', b'"new"', 1)


def test_a_huge_name_costs_no_stack() -> None:
    raw = dumps({"model": "x" * 5_000_000})
    assert loads(splice_model(raw, loads(raw), "new")) == {"model": "new"}


def test_numbers_that_python_cannot_hold_are_refused_not_raised() -> None:
    with pytest.raises(BadJson):
        loads(b"1e400")
    assert loads(b"18446744073709551616") == 2.0**64
    assert math.isfinite(loads(b"-0"))
