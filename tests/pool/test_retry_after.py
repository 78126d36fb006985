"""Retry-After is read …"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.pool.retry_after import CAP_S, retry_after, retry_info

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


def read(value: bytes, name: bytes = b"retry-after") -> float | None:
    return retry_after({name: value}, NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0),
        (b"1", 1),
        (b"007", 7),
        (b" 12\t", 12),
        (b"1.5", 1.5),
        (b"999999999999", CAP_S),
        (b"Fri, 15 Jan 2027 08:01:40 GMT", 100),
        (b"Friday, 15-Jan-27 08:01:40 GMT", 100),
        (b"Fri Jan 15 08:01:40 2027", 100),
        (b"Fri Jan  1 08:01:40 2027", 0),
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 0),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 0),
        (b"Sun Nov  6 08:49:37 1994", 0),
        (b"Fri, 31 Dec 9999 23:59:60 GMT", CAP_S),
    ],
)
def test_in_every_valid_form(value, seconds):
    assert read(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"-1",
        b"+5",
        b"1_0",
        b"1e3",
        b".5",
        b"5.",
        b"nan",
        b"inf",
        b"-inf",
        b"Infinity",
        b"1" * 30,
        b"soon",
        b"5, 10",
        b"5 s",
        b"0x10",
        "٣".encode(),
        b"\xff\xfe",
        b"5\x00",
        b"Fri, 15 Jan 2027 08:01:40",
        b"Fri, 15 Jan 2027 08:01:40 CET",
        b"Fri, 32 Jan 2027 08:01:40 GMT",
        b"Fri, 15 Foo 2027 08:01:40 GMT",
        b"Fri, 15 Jan 2027 25:01:40 GMT",
        b"Fri, 15 Jan 0000 08:01:40 GMT",
        b"2027-01-15T08:01:40Z",
        "Fri, 15 Jan 2027 08:01:٤٠ GMT".encode(),
    ],
)
def test_and_everything_else_is_ignored(value):
    assert read(value) is None


def test_milliseconds_come_first_where_they_are_valid():
    assert retry_after({b"retry-after-ms": b"1500", b"retry-after": b"9"}, NOW) == 1.5
    assert retry_after({b"retry-after-ms": b"-1", b"retry-after": b"9"}, NOW) == 9


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1s", 1), (b"6m0s", 360), (b"12ms", 0.012), (b"1h2m3.5s", 3723.5), (b"8.64s", 8.64), ("5µs".encode(), 5e-6), (b"0s", 0), (b"300h", CAP_S)],
)
def test_durations_of_exhausted_limits(value, seconds):
    headers = {b"x-ratelimit-remaining-tokens": b"0", b"x-ratelimit-reset-tokens": value}
    assert retry_after(headers, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"12", b"1d", b"-1s", b"s", b"1s ago", b"1.2.3s", b"1h" * 50, b"1" * 40 + b"s"])
def test_durations_that_are_none_are_ignored(value):
    assert retry_after({b"x-ratelimit-remaining-tokens": b"0", b"x-ratelimit-reset-tokens": value}, NOW) is None


def test_limits_with_something_left_do_not_count_and_the_latest_of_the_others_does():
    headers = {
        b"x-ratelimit-remaining-requests": b"3",
        b"x-ratelimit-reset-requests": b"500s",
        b"x-ratelimit-remaining-tokens": b"0",
        b"x-ratelimit-reset-tokens": b"7s",
        b"anthropic-ratelimit-input-tokens-remaining": b"0",
        b"anthropic-ratelimit-input-tokens-reset": b"2027-01-15T08:00:20Z",
        b"anthropic-ratelimit-requests-remaining": b"10",
        b"anthropic-ratelimit-requests-reset": b"2027-01-15T09:00:00Z",
    }
    assert retry_after(headers, NOW) == 20
    assert retry_after({**headers, b"retry-after": b"3"}, NOW) == 3
    assert retry_after({**headers, b"retry-after": b"soon"}, NOW) == 20


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"2027-01-15T08:00:20Z", 20),
        (b"2027-01-15T09:00:20+01:00", 20),
        (b"2027-01-15t08:00:20.25z", 20.25),
        (b"2020-01-15T08:00:20Z", 0),
        (b"2027-13-15T08:00:20Z", None),
        (b"2027-01-15", None),
        (b"20270115T080020Z", None),
        (b"2027-01-15T08:00:20", None),
        (b"2027-01-15T08:00:20.123456789Z", 20.123456),
    ],
)
def test_anthropic_reset_is_a_timestamp(value, seconds):
    headers = {b"anthropic-ratelimit-requests-remaining": b"0", b"anthropic-ratelimit-requests-reset": value}
    assert retry_after(headers, NOW) == (None if seconds is None else pytest.approx(seconds, abs=1e-5))


def test_the_cap_is_the_callers():
    assert retry_after({b"retry-after": b"1000"}, NOW, 300) == 300


@pytest.mark.parametrize(
    ("doc", "seconds"),
    [
        ({"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]}}, 34),
        ([{"error": {"details": [{"@type": "x"}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}]}}], 1.5),
        ({"error": {"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "9" * 12 + "s"}]}}, CAP_S),
        ({"error": {"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "-3s"}]}}, None),
        ({"error": {"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": 3}]}}, None),
        ({"error": {"details": [{"@type": "google.rpc.RetryInfo"}]}}, None),
        ({"error": {"details": [None, 3, "x", []]}}, None),
        ({"error": {"details": {"a": 1}}}, None),
        ({"error": "boom"}, None),
        ({"error": None}, None),
        ([], None),
        (None, None),
        ("text", None),
        (7, None),
    ],
)
def test_google_says_it_in_the_body(doc, seconds):
    assert retry_info(doc) == seconds


@given(st.binary(max_size=60))
def test_any_bytes_are_answered_within_the_cap(value):
    for name in (b"retry-after", b"retry-after-ms"):
        assert (seconds := read(value, name)) is None or 0 <= seconds <= CAP_S
    for remaining, reset in ((b"x-ratelimit-remaining-a", b"x-ratelimit-reset-a"), (b"anthropic-ratelimit-a-remaining", b"anthropic-ratelimit-a-reset")):
        assert (seconds := retry_after({remaining: b"0", reset: value}, NOW)) is None or 0 <= seconds <= CAP_S


@given(
    st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "details", "@type"]), inner))
)
def test_any_document_is_answered(doc):
    assert retry_info(doc) is None
