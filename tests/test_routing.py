"""A plan …"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.pool.pool import Candidate
from trioproxy.routing import ModelInfo, Plan, Route


def route(name: str, *serve: str, info: ModelInfo | None = None) -> Route:
    return Route(name, tuple(Candidate(*one.split("/", 1)) for one in serve), info)


def served(plan: Plan, model: str) -> list[str] | None:
    found = plan.candidates(model)
    return None if found is None else [f"{one.backend}/{one.model}" for one in found]


PLAN = Plan(
    [
        route("fast", "anthropic/claude-haiku", "openai/gpt-mini"),
        route("mock-*", "mock/*"),
        route("mock-big-*", "big/model-*-large", "mock/fixed"),
        route("mock-big", "exact/one"),
        route("*-mini", "mini/*-mini"),
        route("claude-*-latest", "anthropic/claude-*"),
    ],
    default="openai",
)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("fast", ["anthropic/claude-haiku", "openai/gpt-mini"]),
        ("Fast", ["openai/Fast"]),
        ("mock-7", ["mock/7"]),
        ("mock-", ["mock/"]),
        ("mock", ["openai/mock"]),
        ("mock-big", ["exact/one"]),
        ("mock-big-7", ["big/model-7-large", "mock/fixed"]),
        ("mock-mini", ["mock/mini"]),
        ("gpt-mini", ["mini/gpt-mini"]),
        ("claude-opus-latest", ["anthropic/claude-opus"]),
        ("claude-latest", ["openai/claude-latest"]),
        ("claude--latest", ["anthropic/claude-"]),
        ("claude-*-latest", ["anthropic/claude-*"]),
        ("openai/gpt-5", ["openai/openai/gpt-5"]),
        ("", ["openai/"]),
    ],
)
def test_finds_the_candidates_of_a_model(model, expected):
    assert served(PLAN, model) == expected


def test_without_a_default_unknown_models_are_nowhere():
    plan = Plan([route("a", "up/a")])
    assert served(plan, "a") == ["up/a"]
    assert plan.candidates("b") is None
    assert Plan().candidates("b") is None


def test_a_star_alone_takes_all():
    plan = Plan([route("*", "up/*"), route("a*", "down/*")])
    assert (served(plan, "b"), served(plan, "ab")) == (["up/b"], ["down/b"])


def test_between_equal_prefixes_the_longer_suffix_wins():
    plan = Plan([route("a-*", "one/*"), route("a-*-x", "two/*"), route("a-*x", "three/*")])
    assert (served(plan, "a-b-x"), served(plan, "a-bx"), served(plan, "a-b")) == (["two/b"], ["three/b"], ["one/b"])


@given(st.text())
def test_labels_are_names_of_routes_and_nothing_else(model):
    assert PLAN.label(model) in {"fast", "mock-*", "mock-big-*", "mock-big", "*-mini", "claude-*-latest", "other"}


def test_labels_follow_the_candidates():
    assert [PLAN.label(model) for model in ("fast", "mock-big", "mock-big-1", "mock-1", "x-mini", "gpt-5")] == [
        "fast",
        "mock-big",
        "mock-big-*",
        "mock-*",
        "*-mini",
        "other",
    ]


def test_models_are_the_exact_names_in_order():
    info = ModelInfo("b", "me", 1_700_000_000, 128_000, 4096)
    plan = Plan([route("b", "up/b", info=info), route("m-*", "up/*"), route("a", "down/a", "up/a")])
    assert plan.models() == [info, ModelInfo("a", "down")]


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ([route("a", "up/a"), route("b", "up/b"), route("a", "up/c")], "two routes share a name: a"),
        ([route("a*", "up/a"), route("a*", "up/c")], r"share a name: a\*"),
        ([route("a*b*", "up/a")], r"route 'a\*b\*' has more than one \*"),
        ([route("a")], "route 'a' leads nowhere"),
        ([route("a", "up/*")], r"route 'a' has no \*"),
    ],
)
def test_mistakes_are_refused(routes, said):
    with pytest.raises(ValueError, match=said):
        Plan(routes)
