"""What people write becomes numbers, or a sentence about why not."""

import datetime
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.config.units import UnfitError, count, moment, ratio, seconds, show_seconds, show_size, shown, size, suggest


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (0, 0.0),
        (20, 20.0),
        (0.5, 0.5),
        ("20", 20.0),
        ("90 s", 90.0),
        ("2 min", 120.0),
        ("2min", 120.0),
        ("1.5 h", 5400.0),
        ("250 ms", 0.25),
        ("1 h 30 min", 5400.0),
        (" 1 d ", 86400.0),
    ],
)
def test_seconds_reads_numbers_and_text_with_units(written: object, meant: float) -> None:
    assert seconds(written) == pytest.approx(meant)


@pytest.mark.parametrize(
    "written", [-1, math.nan, math.inf, True, None, [], {}, "", "soon", "5 parsec", "-3 s", "1 s soon", "1e3", "٣ s", 10**400, "9" * 16, "5 s x"]
)
def test_seconds_refuses_what_is_no_duration(written: object) -> None:
    with pytest.raises(UnfitError):
        seconds(written)


@pytest.mark.parametrize(
    ("written", "meant"), [(1, 1), (4096, 4096), ("32 MiB", 32 << 20), ("64KiB", 65536), ("10 MB", 10_000_000), ("1.5 KiB", 1536), ("7", 7), ("7 B", 7)]
)
def test_size_reads_bytes_and_text_with_units(written: object, meant: int) -> None:
    assert size(written) == meant


@pytest.mark.parametrize(
    "written", [0, -1, 1.5, "0.3 B", True, "1 KIB", "1 mb", "", "KiB", "2 TiB", 1 << 41, math.nan, math.inf, pytest.param(0x10**5000, id="huge")]
)
def test_size_refuses_what_is_no_size(written: object) -> None:
    with pytest.raises(UnfitError):
        size(written)


def test_an_unknown_unit_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(UnfitError, match='unknown unit "mib"') as caught:
        size("32 mib")
    assert caught.value.hint == 'did you mean "MiB"?'


@pytest.mark.parametrize("written", [True, 1.0, "1", None, -1, 11])
def test_count_takes_integers_of_its_range(written: object) -> None:
    assert count(10, 0, 10) == 10
    with pytest.raises(UnfitError):
        count(written, 0, 10)


@pytest.mark.parametrize("written", [-0.1, 1.1, math.nan, "0.1", True])
def test_ratio_goes_from_0_to_1(written: object) -> None:
    assert (ratio(0), ratio(0.1), ratio(1)) == (0.0, 0.1, 1.0)
    with pytest.raises(UnfitError):
        ratio(written)


def test_moment_reads_unix_seconds_dates_and_times() -> None:
    assert moment(1735689600) == moment(datetime.date(2025, 1, 1)) == moment(datetime.datetime(2025, 1, 1))
    assert moment(datetime.datetime(2025, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))) == 1735689600
    with pytest.raises(UnfitError):
        moment(datetime.date(1969, 1, 1))
    with pytest.raises(UnfitError):
        moment(datetime.time(1, 2))


@given(st.integers(0, 10**7) | st.sampled_from([0.25, 0.001, 1.5]))
def test_what_is_shown_of_a_duration_reads_back(value: float) -> None:
    assert seconds(show_seconds(value)) == pytest.approx(value)


@given(st.integers(1, 1 << 40))
def test_what_is_shown_of_a_size_reads_back(value: int) -> None:
    assert size(show_size(value)) == value


def test_durations_and_sizes_are_shown_in_the_largest_fitting_unit() -> None:
    assert [show_seconds(value) for value in (0, 0.25, 20, 120, 90, 3600, 86400)] == ["0 s", "250 ms", "20 s", "2 min", "90 s", "1 h", "1 d"]
    assert [show_size(value) for value in (1, 1024, 65536, 32 << 20, 1 << 30, 1025)] == ["1 B", "1 KiB", "64 KiB", "32 MiB", "1 GiB", "1025 B"]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_shown_is_one_short_line_of_anything(value: object) -> None:
    text = shown(value)
    assert len(text) <= 60
    assert text.isprintable()
    assert shown(0x10**5000) == "this int"


def test_suggest_names_the_nearest_word_or_all() -> None:
    assert suggest("grace", ("listen", "grace_s")) == 'did you mean "grace_s"?'
    assert suggest("zzz", ("a", "b")) == "known: a, b"
    assert suggest("zzz", ()) is None
