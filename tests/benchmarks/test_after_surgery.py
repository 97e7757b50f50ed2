"""The table of criteria right after the cut: the same work for all, on a tiny network."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.after_surgery import main

from edgeprune.images.dataset import Dataset


def test_each_criterion_has_its_line_beside_the_uncut_network(
    checkpoints: dict[str, Path], tiny: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        [
            *("--set", "tiny", str(checkpoints["yolov8n"]), str(tiny.source)),
            *("--share", "0.8", "--criteria", "l1"),
        ]
    )
    heads, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert heads == "| criterion | tiny, 80% |"
    assert [line.split(" | ")[0] for line in lines] == ["| uncut", "| l1"]
