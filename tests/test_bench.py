"""The bench tells the truth: its clients accept what the fake upstream sends, and notice what is wrong with it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.run import options, scenarios
from bench.upstream import read_script

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    with subprocess.Popen([sys.executable, BENCH / "upstream.py"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.terminate()


def load(port: int, *words: str) -> dict[str, Any]:
    command = [sys.executable, BENCH / "load.py", "--port", str(port), "--seconds", "30", *words]
    report: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    return report


@pytest.mark.parametrize("face", ["chat", "responses"])
@pytest.mark.parametrize("model", ["mock-n40", "mock-n40-b7", "mock-n10-d1", "mock-n5-u100-t5", "mock-n0"])
def test_every_delta_of_a_good_answer_is_counted_once(upstream: int, face: str, model: str) -> None:
    n = read_script(model.encode()).deltas
    report = load(upstream, "--stream", "--face", face, "--model", model, "--expect", str(n), "--conns", "3", "--requests", "9")
    assert report["faults"] == {}
    assert (report["good"], report["deltas"]) == (9, 9 * n)


@pytest.mark.parametrize(
    ("model", "fault"),
    [("mock-n9-x4", "closed early"), ("mock-n9-x4", "deltas missing"), ("mock-n9-x9", "no terminal event"), ("mock-e503", "status 503")],
)
def test_a_bad_answer_is_no_good_one(upstream: int, model: str, fault: str) -> None:
    report = load(upstream, "--stream", "--model", model, "--expect", "9", "--requests", "2")
    assert report["good"] == 0
    assert report["faults"][fault] == 2


def test_hang_ups_reach_the_upstream_with_their_number(upstream: int) -> None:
    report = load(upstream, "--mode", "drop", "--stream", "--model", "mock-n1000-d5", "--conns", "4", "--requests", "4")
    assert sorted(token for token, _ in report["drops"]) == [1, 2, 3, 4]
    assert report["faults"] == {}


def test_large_plain_requests_and_arrivals(upstream: int) -> None:
    assert load(upstream, "--body", "300000", "--conns", "2", "--requests", "4")["good"] == 4
    assert load(upstream, "--mode", "open", "--rate", "200", "--conns", "4", "--requests", "20")["started"] == 20


def test_every_scenario_is_bounded_and_playable() -> None:
    for one in scenarios([]):
        words = options(one["load"])
        assert words.count("--seconds") == 1, one["name"]
        assert float(words[words.index("--seconds") + 1]) <= 30
        assert set(one["roads"]) <= {"passed", "translated"}
