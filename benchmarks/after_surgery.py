"""Accuracy right after a cut, before any training: every criterion, at the same work, on several networks.

    python -m benchmarks.after_surgery --set digits digits digits --set bccd best.pt bccd/data.yaml

Each network is cut to the same shares of its multiply-accumulates by the same program; only the importance
differs. Nothing is timed, so a busy machine changes nothing. What needs sparse training is left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from benchmarks.budget import DataSet

from edgeprune.cli.options import existing
from edgeprune.cli.progress import stage_progress
from edgeprune.config.recipe import Regularised, load_recipe
from edgeprune.config.targets import DeviceProfile, resolve_targets
from edgeprune.core.artifact import Artifact, Store
from edgeprune.core.errors import EdgepruneError
from edgeprune.models.source import ModelSource
from edgeprune.pipeline.build import start
from edgeprune.pipeline.context import Build, BuildRequest
from edgeprune.pipeline.cut_to_size import cut_to_size
from edgeprune.pipeline.prune_to_latency import torch_accuracy
from edgeprune.prune.criteria import CRITERIA

COMPARED = tuple(name for name in CRITERIA if name not in get_args(Regularised))
SHARES = (0.85, 0.7)


def main(given: Sequence[str] | None = None) -> None:
    """Cut every network by every criterion, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", nargs=3, action="append", required=True, metavar=("NAME", "MODEL", "DATA"))
    parser.add_argument("--share", type=float, nargs="+", default=SHARES, help="of the work to keep")
    parser.add_argument("--criteria", nargs="+", choices=COMPARED, default=COMPARED)
    parser.add_argument("--target", default="jetson", help="whose channel step the widths are on")
    parser.add_argument("--out", type=Path, help="where stages are kept; a folder that goes away by default")
    options = parser.parse_args(given)
    sets = [DataSet(*one) for one in options.set]
    (profile,) = resolve_targets((options.target,))
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or Path(folder)
        found = [kept(one, profile, options.criteria, options.share, out / one.name) for one in sets]
    print(markdown(sets, found, options.share), end="")


def kept(
    one: DataSet, profile: DeviceProfile, criteria: Sequence[str], shares: Sequence[float], out: Path
) -> dict[str, list[float]]:
    """Return the score on val after each cut by criterion; under the empty name that of the uncut network."""
    recipe = load_recipe()
    request = BuildRequest(
        ModelSource(existing(one.model, "model")), existing(one.data, "data"), (profile,), recipe, out, ""
    )
    store = Store(out / "stages")
    with store.locked(), stage_progress() as notify:
        original, context = start(request, store, notify)
        scores = {"": [torch_accuracy(context, original)]}
        for name in criteria:
            scores[name] = [score(context, original, profile, name, share) for share in shares]
    return scores


def score(context: Build, original: Artifact, profile: DeviceProfile, criterion: str, share: float) -> float:
    """Return the score on val of a network that was cut to a share of its work by a criterion."""
    recipe = load_recipe(prune__criterion=criterion, prune__macs=share)
    return torch_accuracy(context, cut_to_size(context.by(recipe), original, profile)[0])


def markdown(
    sets: Sequence[DataSet], found: Sequence[Mapping[str, Sequence[float]]], shares: Sequence[float]
) -> str:
    """Return a table: a line a criterion, a column a network and share."""
    heads = [f"{one.name}, {share:.0%}" for one in sets for share in shares]
    lines = [f"| criterion | {' | '.join(heads)} |", f"|---|{'--:|' * len(heads)}"]
    for name in found[0]:
        cells = [
            f"{value:.4f}"
            for scores in found
            for value in (scores[name] if name else scores[name] * len(shares))
        ]
        lines.append(f"| {name or 'uncut'} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        main()
    except EdgepruneError as exc:
        print(f"after_surgery: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
