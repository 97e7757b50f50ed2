"""Accuracy after a cut and after a short recovery: every criterion, at the same work, on several networks.

    python -m benchmarks.after_surgery --set digits digits digits --set bccd best.pt bccd/data.yaml --epochs 6

Each network is cut to the same shares of its multiply-accumulates by the same program; only the importance
differs. Beside each score stands how much higher than that of the default criterion it is, with the 95 %
interval by the paired bootstrap over images. Nothing is timed, so a busy machine changes nothing. What needs
sparse training is left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from benchmarks.budget import DataSet

from edgeprune.cli.options import existing
from edgeprune.cli.progress import stage_progress
from edgeprune.config.recipe import Regularised, load_recipe
from edgeprune.config.targets import DeviceProfile, resolve_targets
from edgeprune.core.artifact import Artifact, Store
from edgeprune.core.errors import EdgepruneError
from edgeprune.models.predictor import predictor
from edgeprune.models.source import ModelSource
from edgeprune.pipeline.build import start
from edgeprune.pipeline.context import SELECTION_SPLIT, Build, BuildRequest
from edgeprune.pipeline.cut_to_size import cut_to_size
from edgeprune.pipeline.evaluate import judge_split
from edgeprune.pipeline.train import recover
from edgeprune.prune.criteria import CRITERIA
from edgeprune.records.evaluated import read_accuracy, write_accuracy
from edgeprune.records.resampling.draws import RESAMPLES
from edgeprune.records.scores import Accuracy

COMPARED = tuple(name for name in CRITERIA if name not in get_args(Regularised))
SHARES = (0.7, 0.55)
DEFAULT = load_recipe().prune.criterion


class Cut(NamedTuple):
    """A share of the work that is left, and the epochs of recovery after the cut."""

    share: float
    epochs: int

    @property
    def words(self) -> str:
        """What its column is called."""
        after = f" and {self.epochs} epoch{'s' * (self.epochs != 1)}" if self.epochs else ""
        return f"{self.share:.0%}{after}"


def main(given: Sequence[str] | None = None) -> None:
    """Cut every network by every criterion, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", nargs=3, action="append", required=True, metavar=("NAME", "MODEL", "DATA"))
    parser.add_argument("--share", type=float, nargs="+", default=SHARES, help="of the work to keep")
    parser.add_argument("--epochs", type=int, default=0, help="of a short recovery, to be judged as well")
    parser.add_argument("--criteria", nargs="+", choices=COMPARED, default=COMPARED)
    parser.add_argument("--target", default="jetson", help="whose channel step the widths are on")
    parser.add_argument("--out", type=Path, help="where stages are kept; a folder that goes away by default")
    options = parser.parse_args(given)
    sets = [DataSet(*one) for one in options.set]
    (profile,) = resolve_targets((options.target,))
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or Path(folder)
        cuts = [Cut(share, epochs) for share in options.share for epochs in sorted({0, options.epochs})]
        found = [kept(one, profile, options.criteria, cuts, out / one.name) for one in sets]
    print(markdown(sets, found, cuts), end="")


def kept(
    one: DataSet, profile: DeviceProfile, criteria: Sequence[str], cuts: Sequence[Cut], out: Path
) -> dict[str, list[Accuracy]]:
    """Return what val says after each cut by criterion; under the empty name of the uncut network."""
    recipe = load_recipe()
    request = BuildRequest(
        ModelSource(existing(one.model, "model")), existing(one.data, "data"), (profile,), recipe, out, ""
    )
    store = Store(out / "stages")
    with store.locked(), stage_progress() as notify:
        original, context = start(request, store, notify)
        found = {"": [judged(context, original)] * len(cuts)}
        for name in criteria:
            found[name] = [judged(context, network(context, original, profile, name, cut)) for cut in cuts]
    return found


def network(context: Build, original: Artifact, profile: DeviceProfile, criterion: str, cut: Cut) -> Artifact:
    """Return a network that was cut by a criterion, and recovered if that is asked for."""
    recipe = load_recipe(prune__criterion=criterion, prune__macs=cut.share)
    pruned, _ = cut_to_size(context.by(recipe), original, profile)
    return recover(context, pruned, original, cut.epochs) if cut.epochs else pruned


def judged(context: Build, model: Artifact) -> Accuracy:
    """Return what val says of a network in torch, with its scores on the resamples."""
    split = SELECTION_SPLIT
    parts = {
        "model": model.sha256,
        "imgsz": context.spec.imgsz,
        "resamples": RESAMPLES,
        "data": context.dataset.fingerprint(split),
    }

    def make(out: Path) -> None:
        context.notify("evaluate", 0.0, f"torch fp32 on {split}")
        module = context.adapter.exportable(context.adapter.load(model.path))
        write_accuracy(judge_split(context, split, predictor(module)), out)

    return context.stage(
        "judged-in-torch", parts, make, lambda place: read_accuracy(place, split), uses=context.of_model
    )


def markdown(
    sets: Sequence[DataSet], found: Sequence[Mapping[str, Sequence[Accuracy]]], cuts: Sequence[Cut]
) -> str:
    """Return a table: a line a criterion, a column a network and cut."""
    heads = [f"{one.name}, {cut.words}" for one in sets for cut in cuts]
    lines = [f"| criterion | {' | '.join(heads)} |", f"|---|{'--:|' * len(heads)}"]
    for name in found[0]:
        cells = [
            cell(scores[name][at], scores[DEFAULT][at] if name and DEFAULT in scores else None)
            for scores in found
            for at in range(len(cuts))
        ]
        lines.append(f"| {name or 'uncut'} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(accuracy: Accuracy, default: Accuracy | None) -> str:
    """Return a score, and how much higher than that of the default criterion it is, None of the uncut one."""
    found = accuracy.dropped_from(default) if default else accuracy
    if not found.drop or not found.drop_interval:  # the default itself, or a metric that gives no interval
        return f"{found.score:.4f}"
    low, high = found.drop_interval
    return f"{found.score:.4f} ({-found.drop:+.4f} [{-high:+.4f}, {-low:+.4f}])"


if __name__ == "__main__":
    try:
        main()
    except EdgepruneError as exc:
        print(f"after_surgery: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
