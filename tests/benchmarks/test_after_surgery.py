"""The table of criteria right after the cut: the same work for all, on a tiny network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmarks.after_surgery import cell, main

from edgeprune.images.dataset import Dataset
from made_matches import paired_accuracies


def test_each_criterion_has_its_line_beside_the_uncut_network(
    checkpoints: dict[str, Path], tiny: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        [
            *("--set", "tiny", str(checkpoints["yolov8n"]), str(tiny.source)),
            *("--share", "0.8", "--criteria", "l1", "--epochs", "1"),
        ]
    )
    heads, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert heads == "| criterion | tiny, 80% | tiny, 80% and 1 epoch |"
    assert [line.split(" | ")[0] for line in lines] == ["| uncut", "| l1"]


def test_a_score_stands_beside_that_of_the_default_criterion() -> None:
    default, other = paired_accuracies(0.6, 0.61, noise=0.001)
    assert cell(default, None) == cell(default, default) == "0.6000"
    shown = re.fullmatch(r"0\.6100 \(\+0\.0100 \[(.+), (.+)\]\)", cell(other, default))
    assert shown and 0 < float(shown[1]) < 0.01 < float(shown[2])
