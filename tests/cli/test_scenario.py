"""`edgeprune bench --scenario`: each one shows its own figures; wrong combinations are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune.records.bench_result import BenchResult


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--fps 30", "--fps is the rate of --scenario paced, not of single_stream"),
        ("--scenario throughput", "--scenario throughput needs --in-flight N, 2 or more"),
        ("--scenario throughput --in-flight 1", "1 is not in the range 2<=x<=256"),
        ("--scenario paced --in-flight 4", "--in-flight goes with --scenario throughput, not with paced"),
        ("--scenario paced --fps 0", "0.0 is not in the range 0.1<=x<=1000"),
        ("--scenario paced --fps nan", "'nan' is not a number in the range 0.1<=x<=1000"),
        ("--scenario paced --fps 5 --fps 5.0", "the same rate is given twice"),
        ("--scenario cold --seconds 5", "--scenario cold counts starts"),
        ("--scenario sustained --profile quick", "--scenario sustained is one run, not --profile quick"),
        ("--scenario paced --profile sustained", "--profile sustained is one run of 10 minutes, not paced"),
        ("--seconds 0", "0.0 is not in the range 0.001<=x<=86400"),
        ("--seconds inf", "inf is not in the range 0.001<=x<=86400"),
        ("--scenario pased", "'pased' is not one of"),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(
    run: Any, convnet: Path, options: str, says: str
) -> None:
    ended = run("bench", convnet, *options.split())
    assert ended.code == 2
    assert says in " ".join(ended.errors)


@pytest.mark.parametrize(
    ("options", "heads"),
    [
        ("--scenario paced --fps 100", ["FPS", "asked", "missed"]),
        ("--scenario throughput --in-flight 2", ["in flight", "FPS", "p50"]),
        ("--scenario sustained --seconds 0.1", ["p50 first", "p50 last", "RSS last", "MB/minute"]),
        ("--scenario cold", ["starts", "load ms", "compile ms", "first ms"]),
    ],
)
def test_each_scenario_shows_its_own_figures(run: Any, convnet: Path, options: str, heads: list[str]) -> None:
    ended = run("bench", convnet, *options.split())
    assert ended.code == 0, ended.errors
    table = ended.stdout.splitlines()
    assert all(head in table[0] for head in heads), table[0]
    assert convnet.name in table[1]


def test_the_json_holds_the_scenarios_figures_and_the_files_their_names(
    run: Any, convnet: Path, tmp_path: Path
) -> None:
    ended = run(
        "bench", convnet, "--scenario", "paced", "--fps", 100, "--fps", 50, "--seconds", 0.2, "--json",
        "--out", tmp_path / "out",
    )  # fmt: skip
    results = [BenchResult.model_validate(entry) for entry in json.loads(ended.stdout)]
    assert [result.fps.target for result in results if result.fps] == [100, 50]
    assert all(result.latency_ms and result.latency_ms["p50"] for result in results)
    assert all(
        result.stages_ms and result.stages_ms.pre and result.stages_ms.h2d is None for result in results
    )
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{convnet.name}-paced-{rate}-FPS.json" for rate in (100, 50)]


def test_the_profile_sustained_is_the_scenario_of_that_name(run: Any, convnet: Path) -> None:
    ended = run("bench", convnet, "--profile", "sustained", "--json")
    (result,) = (BenchResult.model_validate(entry) for entry in json.loads(ended.stdout))
    assert result.scenario.name == "sustained" and result.minutes
