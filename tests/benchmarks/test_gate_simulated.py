"""The gate's error rates on simulated machines: those of the docs, with fewer runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import gate_simulated as simulated

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("model", ["quiet board", "phone", "busy CI host", "warming device"])
def test_equal_sides_do_not_fail_and_slower_ones_do_not_pass(model: str) -> None:
    runs = 300
    assert simulated.rates(model, 0.0, runs)["fail"] * runs <= 1
    slower = simulated.rates(model, 0.08, runs)
    assert slower["pass"] == 0
    assert slower["fail"] >= (0.7 if model == "busy CI host" else 0.95)


def test_the_rates_in_the_docs_are_those_that_it_prints() -> None:
    page = (ROOT / "docs" / "measurement.md").read_text(encoding="utf-8")
    assert f"seed {simulated.SEED}" in page and f"{simulated.RUNS} checks" in page
    shares = simulated.rates("busy CI host", 0.08).values()
    assert f"| busy CI host | +8% | {' | '.join(f'{100 * share:.4g} %' for share in shares)} |" in page
