"""The page about the simulated backend names every option."""

import re
from pathlib import Path

from trioproxy.harness.steering import OPTIONS, steer

PAGE = Path(__file__).parents[2] / "docs" / "mock.md"


def test_every_option_is_documented_and_every_example_is_a_model() -> None:
    rows = re.findall(r"^\| `-(([a-z])[0-9]*)` \|", PAGE.read_text(), re.MULTILINE)
    assert [letter for _, letter in rows] == list(OPTIONS)
    for example, _ in rows:
        steer(f"mock-{example}")
