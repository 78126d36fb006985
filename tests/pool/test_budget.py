"""The retry budget …"""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from trioproxy.pool.budget import RetryBudget


def test_the_floor_is_always_allowed():
    budget = RetryBudget(0.1, 3)
    assert [budget.allow(0.0) for _ in range(5)] == [True, True, True, False, False]


def test_a_share_of_the_calls_is_allowed():
    budget = RetryBudget(0.1, 3)
    for _ in range(100):
        budget.called(5.0)
    assert sum(budget.allow(6.0) for _ in range(50)) == 10


def test_a_minute_later_it_is_new():
    budget = RetryBudget(0.1, 1)
    assert budget.allow(0.0)
    assert not budget.allow(59.9)
    assert budget.allow(60.0)
    assert not budget.allow(60.0)


def test_refused_ones_do_not_count():
    budget = RetryBudget(0.0, 1)
    assert budget.allow(0.0)
    assert not any(budget.allow(30.0) for _ in range(100))
    assert budget.allow(60.0)


def test_zero_allows_none():
    assert not RetryBudget(0.0, 0).allow(0.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 20)), max_size=80), st.integers(0, 5), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_it_counts_as_a_plain_list_does(steps, floor, ratio):
    budget, now, calls, retries = RetryBudget(ratio, floor), 0.0, deque(), deque()
    for call, seconds in steps:
        now += seconds
        for past in (calls, retries):
            while past and past[0] <= now // 1 - 60:
                past.popleft()
        if call:
            budget.called(now)
            calls.append(now // 1)
        else:
            allowed = len(retries) < max(floor, ratio * len(calls))
            assert budget.allow(now) is allowed
            if allowed:
                retries.append(now // 1)
        assert len(budget._seconds) <= 61
