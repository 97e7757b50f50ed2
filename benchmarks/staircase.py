"""Why widths are rounded: latency over pruning ratios, for unrounded, rounded and table-driven widths.

    python -m benchmarks.staircase --model best.pt --imgsz 320

For each target and precision all networks are measured side by side, in turns. Nothing is trained: weights
do not matter to latency. The latency tables come from `edgeprune profile` (its cache is used). Table-driven
widths have the latency of the rounded ones for their goal, and as in a build the target has the last word:
while some come out slower than the table promised, these are chosen anew, for as much less, and all are
measured again, three times at most.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from benchmarks.latency_prediction import measure_widths

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.bench.testbed import local
from edgeprune.cli.progress import Notify, stage_progress
from edgeprune.config.recipe import PruneRecipe
from edgeprune.config.targets import DeviceProfile, Precision, resolve_targets
from edgeprune.latency.profile import profile_model
from edgeprune.latency.shipped import ProfiledNetwork, subject_of
from edgeprune.prune.allocation import on_step
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.knapsack import allot, width_options
from edgeprune.prune.surgery import score_groups
from edgeprune.records.latency_table import LatencyTable
from edgeprune.runners.local import LocalRunner

RATIOS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7)
MAX_RATIO = 0.9
NOISE = 1.02  # two of one kind differ by less than this
MOST_CORRECTIONS = 3
Widths = dict[str, int]


def main() -> None:
    """Print one table a target and precision, and whether rounding ever lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--imgsz", type=int)
    parser.add_argument("--target", action="append", help="repeatable; by default what `cpu` stands for here")
    parser.add_argument("--precision", action="append", help="repeatable; by default fp32 and int8")
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS)
    options = parser.parse_args()
    slower: list[str] = []
    for profile in resolve_targets(tuple(options.target or ["cpu"])):
        for precision in options.precision or ["fp32", "int8"]:
            with stage_progress() as notify:
                slower += compare(options.model, options.imgsz, profile, precision, options.ratios, notify)
    print("\nSlower than it should be:", "; ".join(slower) or "nothing")


def compare(
    model: Path,
    imgsz: int | None,
    profile: DeviceProfile,
    precision: Precision,
    ratios: Sequence[float],
    notify: Notify,
) -> list[str]:
    """Print the table of one target and precision; return the settings that lost to what they should beat."""
    subject = subject_of(adapter, model, imgsz, profile, precision, 1)
    scores = score_groups(
        subject.model,
        adapter.unprunable,
        torch.zeros(1, 3, subject.imgsz, subject.imgsz),
        PruneRecipe(),
        Evidence(0),
    )
    settings: dict[str, Widths] = {"original": {}}
    with tempfile.TemporaryDirectory() as folder, LocalRunner() as runner:
        table = profile_model(subject, local(), notify)
        for ratio in ratios:
            settings |= {f"{kind} {ratio:g}": keep for kind, keep in three_ways(table, scores, ratio).items()}
        p50 = _measured(subject, table, settings, Path(folder) / "0", runner)
        shares = dict.fromkeys(ratios, 1.0)
        for correction in range(1, MOST_CORRECTIONS + 1):
            late = {ratio: p50[f"driven {ratio:g}"] / p50[f"rounded {ratio:g}"] for ratio in ratios}
            late = {ratio: times for ratio, times in late.items() if times > NOISE}
            if not late:
                break
            for ratio, times in late.items():
                shares[ratio] /= times
                rounded = settings[f"rounded {ratio:g}"]
                settings[f"driven {ratio:g}"] = table_driven(table, scores, rounded, shares[ratio])
            p50 = _measured(subject, table, settings, Path(folder) / str(correction), runner)
    print(
        f"\n{profile.name} {precision}, {subject.imgsz} px, 1 thread, step {table.step}, original "
        f"{p50['original']:.2f} ms\n"
    )
    print("| pruned | unrounded ms | rounded ms | table-driven ms |\n|---|---|---|---|")
    slower = []
    for ratio in ratios:
        raw, rounded, driven = (p50[f"{kind} {ratio:g}"] for kind in ("unrounded", "rounded", "driven"))
        print(f"| {ratio:.0%} | {raw:.2f} | {rounded:.2f} | {driven:.2f} |", flush=True)
        for kind, ms in (("rounded", rounded), ("driven", driven)):
            if ms > NOISE * min(raw, p50["original"]):
                slower.append(f"{profile.name} {precision} {kind} {ratio:g}")
    return slower


def _measured(
    subject: ProfiledNetwork,
    table: LatencyTable,
    settings: dict[str, Widths],
    folder: Path,
    runner: LocalRunner,
) -> dict[str, float]:
    folder.mkdir()
    times = measure_widths(subject, table, list(settings.values()), folder, runner)
    return dict(zip(settings, times, strict=True))


def three_ways(table: LatencyTable, scores: dict[str, torch.Tensor], ratio: float) -> dict[str, Widths]:
    """Return the widths at a ratio: as they come, on the step, the best within the latter's latency."""
    rounded = {
        name: on_step(width * (1 - ratio), table.step, width) for name, width in table.original.items()
    }
    return {
        "unrounded": {name: max(1, round(width * (1 - ratio))) for name, width in table.original.items()},
        "rounded": rounded,
        "driven": table_driven(table, scores, rounded),
    }


def table_driven(
    table: LatencyTable, scores: dict[str, torch.Tensor], rounded: Widths, share: float = 1.0
) -> Widths:
    """Return the widths of the greatest importance within a share of what the table says of rounded ones."""
    predict = table.predictor()
    options = {name: width_options(width, table.step, MAX_RATIO) for name, width in table.original.items()}
    ranked = {name: scores[name].tolist() for name in table.original}
    return allot(ranked, options, predict, predict(rounded) * share).keep


if __name__ == "__main__":
    main()
