"""What `bench` prints, and what reports tell of sensors: their columns are there where a device tells."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from edgeprune.core.files import write_text_atomically
from edgeprune.records.bench_result import BenchResult, Energy
from edgeprune.report.html import write_html
from edgeprune.report.markdown import write_markdown
from edgeprune.report.results import print_results

ENERGY = Energy(
    j_per_inf=0.0412, idle_w=4.25, mean_w=7.5, source="ina3221", rails=("VDD_CPU_CV", "VDD_SOC"), hz=1.0
)
HOT = ({"t": 1.0, "temp_c": {"zone0": 54.0, "zone1": 61.4}}, {"t": 2.0, "temp_c": None})


def _printed(*results: BenchResult) -> list[str]:
    stream = io.StringIO()
    print_results(results, Console(file=stream, width=120))
    return stream.getvalue().splitlines()


@pytest.fixture
def result(parts: SimpleNamespace) -> Any:
    """Return a function that makes a result with some changes."""
    plain: BenchResult = parts.bench_result("cool", 8.0)

    def make(**changes: Any) -> BenchResult:
        return plain.model_copy(update=changes)

    return make


def test_energy_and_heat_have_columns_where_a_row_tells_of_them(result: Any) -> None:
    head, warm, cool, what = _printed(result(name="warm", energy=ENERGY, telemetry=HOT), result())
    assert head.split()[-5:] == ["load", "ms", "mJ", "max", "°C"]
    assert warm.split()[-2:] == ["41.2", "61"] and cool.split()[-2:] == ["–", "–"]
    assert what == "warm: energy by ina3221 (VDD_CPU_CV, VDD_SOC): 7.50 W, less 4.25 W idle"


def test_no_column_is_for_a_sensor_that_no_device_has(result: Any) -> None:
    silent = ({"t": 1.0, "temp_c": None},)
    head, _ = _printed(result(telemetry=silent))
    assert "mJ" not in head and "°C" not in head
    assert "°C" in _printed(result(telemetry=HOT))[0] and "mJ" not in _printed(result(telemetry=HOT))[0]


@pytest.mark.parametrize("write", [write_html, write_markdown])
def test_reports_of_a_build_show_energy_and_heat_where_they_were_measured(
    make_build: Callable[..., Path], parts: SimpleNamespace, result: Any, write: Any
) -> None:
    folder = make_build()
    assert "mJ above idle" not in write(folder).read_text(encoding="utf-8")
    (row, *_) = parts.summary().rows()
    told = result(name=row.label, energy=ENERGY, telemetry=HOT)
    write_text_atomically(folder / row.bench, told.model_dump_json())
    text = write(folder).read_text(encoding="utf-8").replace("\\_", "_")
    for shown in ("mJ above idle", "41.2", "ina3221 VDD_CPU_CV, VDD_SOC", "hottest"):
        assert shown in text
