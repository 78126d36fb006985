"""A credential …"""

from __future__ import annotations

import pickle

import pytest

from tests.pool.desk import key
from trioproxy.pool.credential import NO_AUTH, AuthScheme, Secret

LONG = "sk-proj-ABCDEFGHIJKLMNOPQRSTUVWXYZ0123"


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r:>40}".format, lambda s: s.masked, lambda s: f"{s}"])
def test_secret_shows_four_characters_at_most(show):
    shown = show(Secret(LONG))
    assert "0123" in shown
    assert all(LONG[i : i + 5] not in shown for i in range(len(LONG) - 4))


def test_a_short_secret_shows_nothing():
    assert Secret("hunter2hunter2").masked == "…"


def test_secret_is_what_it_was_given():
    assert Secret(LONG).reveal() == LONG
    assert Secret(LONG) == Secret(LONG)
    assert Secret(LONG) != Secret(LONG + "x")
    assert Secret(LONG) != LONG
    assert len({Secret(LONG), Secret(LONG)}) == 1


@pytest.mark.parametrize("value", ["", " ", "a b ", "a\r\nX-Evil: 1", "kéy", "a\0b", "\ta"])
def test_secret_refuses_what_no_header_carries_without_showing_it(value):
    with pytest.raises(ValueError, match="visible ASCII") as caught:
        Secret(value)
    assert not value.strip() or value not in str(caught.value)


def test_secret_is_not_pickled():
    with pytest.raises(TypeError):
        pickle.dumps(Secret(LONG))


@pytest.mark.parametrize(
    ("scheme", "headers", "query"),
    [
        ("bearer", ((b"authorization", b"Bearer " + LONG.encode()),), ()),
        ("header:X-Api-Key", ((b"x-api-key", LONG.encode()),), ()),
        ("query:key", (), (("key", LONG),)),
        ("none", (), ()),
    ],
)
def test_scheme_says_where_the_key_goes(scheme, headers, query):
    one = key("a", secret=Secret(LONG), scheme=AuthScheme.parse(scheme))
    assert (one.headers(), one.query()) == (headers, query)
    assert str(AuthScheme.parse(scheme)) == scheme
    assert LONG not in repr(one)


def test_no_secret_sends_nothing():
    assert key("a").headers() == key("a", scheme=NO_AUTH).headers() == ()
    assert key("a", scheme=AuthScheme.parse("query:key")).query() == ()


@pytest.mark.parametrize("text", ["", "Bearer", "bearer:x", "header", "header:", "header:a b", "header:a\r\nb", "query:", "none:x", "basic"])
def test_scheme_refuses_other_forms(text):
    with pytest.raises(ValueError, match="no way to authenticate"):
        AuthScheme.parse(text)


@pytest.mark.parametrize("more", [{"weight": 0}, {"weight": -1}, {"weight": float("inf")}, {"weight": float("nan")}, {"max_in_flight": 0}])
def test_numbers_are_checked(more):
    with pytest.raises(ValueError, match="up/a"):
        key("a", **more)


@pytest.mark.parametrize(
    ("models", "model", "serves"),
    [
        (("*",), "anything/at all", True),
        (("gpt-5",), "gpt-5", True),
        (("gpt-5",), "gpt-5-mini", False),
        (("gpt-*",), "gpt-", True),
        (("gpt-*-mini", "o3"), "gpt-5-mini", True),
        (("gpt-*-mini", "o3"), "o3", True),
        (("gpt-*-mini",), "gpt-5", False),
        (("a.c",), "abc", False),
        (("[ab]",), "a", False),
        ((), "a", False),
    ],
)
def test_serves_the_models_it_names(models, model, serves):
    assert key("a", models=models).serves(model) is serves


def test_same_key_means_the_same_secret_in_the_same_place():
    one = key("a", secret=Secret(LONG))
    assert one.same_key(key("a", secret=Secret(LONG), weight=7, max_in_flight=3))
    assert not one.same_key(key("a", secret=Secret(LONG + "x")))
    assert not one.same_key(key("b", secret=Secret(LONG)))
    assert not one.same_key(key("a", secret=Secret(LONG), scheme=AuthScheme.parse("header:x-api-key")))
