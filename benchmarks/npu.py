"""What int8 costs on NPUs: networks, pruned and not, for several chips, in the emulators of their vendors.

    python -m benchmarks.npu --model yolov8n.pt yolo11n.pt --data bccd/data.yaml --imgsz 160 --out npu

Prints a short and a whole table of all networks whose results lie in the folder, and writes them there.
Stages are cached: the same command goes on where it was stopped, and networks with other data are added by
another command. The guard is off, so that the cost of int8 shows; `--set quantize.guard=true` turns it on,
and `--set prune.enabled=false` leaves the pruned networks out.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeprune.backends import REFERENCE
from edgeprune.cli.progress import stage_progress
from edgeprune.config.recipe import Recipe, load_recipe
from edgeprune.config.targets import DeviceProfile, resolve_targets
from edgeprune.core.artifact import STAGES, Artifact, Store
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.files import write_text_atomically
from edgeprune.models.source import ModelSource
from edgeprune.pipeline.build import build, start
from edgeprune.pipeline.context import SELECTION_SPLIT, BuildRequest, Notify
from edgeprune.pipeline.evaluate import evaluate_engine
from edgeprune.pipeline.load import try_original
from edgeprune.pipeline.prune import prune_model
from edgeprune.pipeline.rows import export_model
from edgeprune.records.summary import Row, Summary, Variant

TARGETS = ("snapdragon-8gen3", "qcs6490", "rk3588", "rk3566")


@dataclass(frozen=True)
class Float:
    """One network in fp32 on ONNX Runtime.

    Attributes:
        scores: by split, val first.
    """

    params: int
    scores: dict[str, float]


@dataclass(frozen=True)
class Line:
    """One engine of one network; scores are those of its metric, by split.

    Attributes:
        plain: scores of the same network in fp32, which the drop is counted from.
        taken: operators that the NPU runs, of `operators`.
        kept: layers that the guard left in more bits.
    """

    network: str
    variant: Variant
    metric: str
    params: int
    target: str
    plain: dict[str, float]
    int8: dict[str, float]
    taken: int
    operators: int
    kept: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Build every network for every target, and print the table of all that the folder holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="trained checkpoints")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--imgsz", type=int, help="the checkpoint's by default")
    parser.add_argument("--target", nargs="+", default=TARGETS)
    parser.add_argument("--ratio", type=float, default=0.3, help="share of the channels to prune")
    parser.add_argument("--epochs", type=int, default=30, help="of recovery")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any key of the recipe"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    profiles = alike(resolve_targets(tuple(options.target)))
    with stage_progress() as notify:
        for model in options.model:
            request = BuildRequest(
                model=ModelSource(model),
                data=options.data,
                targets=profiles,
                recipe=recipe_for(options),
                out=options.out / model.stem,
                command=shlex.join(["python -m benchmarks.npu", *(arguments or sys.argv[1:])]),
            )
            lines = lines_of(build(request, notify), floats(request, notify))
            write_text_atomically(
                options.out / f"{model.stem}.json",
                json.dumps([asdict(line) for line in lines], indent=1) + "\n",
            )
    found = [
        Line(**line) for file in sorted(options.out.glob("*.json")) for line in json.loads(file.read_text())
    ]
    page = f"{short_table(found)}\n{whole_table(found)}"
    write_text_atomically(options.out / "npu.md", page)
    print(page, end="")


def alike(profiles: Sequence[DeviceProfile]) -> tuple[DeviceProfile, ...]:
    """Return profiles with one channel step that suits all of them, so that they share one pruned network."""
    step = math.lcm(*(profile.step for profile in profiles))
    return tuple(profile.model_copy(update={"channel_step": {profile.ship: step}}) for profile in profiles)


def recipe_for(options: argparse.Namespace) -> Recipe:
    """Return the recipe of all builds; what `--set` says wins."""
    return load_recipe(
        None,
        ("quantize.guard=false", *options.set),
        imgsz=options.imgsz,
        prune__ratio=options.ratio,
        finetune__epochs=options.epochs,
    )


def floats(request: BuildRequest, notify: Notify) -> dict[Variant, Float]:
    """Return the networks of a finished build in fp32."""
    store = Store(request.out / STAGES)
    with store.locked():
        original, context = start(request, store, notify)
        models: dict[Variant, Artifact] = {"original": original}
        if request.recipe.prune.enabled:
            baseline, context = try_original(context, original)
            pruned = prune_model(context, original, request.targets[0], baseline).model
            models |= {"pruned": pruned} if pruned else {}
        found: dict[Variant, Float] = {}
        for variant, model in models.items():
            onnx, _ = export_model(context, model, variant)
            scores = evaluate_engine(context, REFERENCE, {}, onnx, "fp32")[1]
            params = sum(weights.numel() for weights in context.adapter.load(model.path).parameters())
            found[variant] = Float(params, {split: one.score for split, one in scores.items()})
    return found


def lines_of(summary: Summary, plain: dict[Variant, Float]) -> list[Line]:
    """Return the rows of a build beside their networks in fp32."""
    return [
        Line(
            network=summary.model["family"],
            variant=row.variant,
            metric=row.metric,
            params=plain[row.variant].params,
            target=row.target,
            plain=plain[row.variant].scores,
            int8=_scores(row, summary.split),
            taken=row.placement.taken if row.placement else 0,
            operators=row.placement.operators if row.placement else 0,
            kept=len(row.guard.floats) if row.guard else 0,
        )
        for variant in plain
        for row in summary.rows()
        if row.variant == variant
    ]


def _scores(row: Row, split: str) -> dict[str, float]:
    if row.val is None or row.score is None:
        raise ValueError(f"{row.label}: it was not evaluated")
    return {SELECTION_SPLIT: row.val.score, split: row.score}


def short_table(lines: Sequence[Line]) -> str:
    """Return one line a network: its score in float on the reported split, and the drop on each target."""
    targets = list(dict.fromkeys(line.target for line in lines))
    rows = [
        f"| network | parameters | float | {' | '.join(f'`{target}`' for target in targets)} |",
        f"|---|--:|--:|{'--:|' * len(targets)}",
    ]
    for one in {(line.network, line.variant): line for line in lines}.values():
        own = {
            line.target: line for line in lines if (line.network, line.variant) == (one.network, one.variant)
        }
        split = list(one.plain)[-1]
        drops = [_signed(own[target], split) if target in own else "–" for target in targets]
        cells = [_name(one), f"{one.params / 1e6:.2f} M", _score(one.plain[split]), *drops]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def whole_table(lines: Sequence[Line]) -> str:
    """Return one line an engine: score in float, in int8 and the drop on every split, and where it runs."""
    splits = list(dict.fromkeys(split for line in lines for split in line.plain))
    heads = [f"{split}: float | int8 | drop" for split in splits]
    rows = [
        f"| network | target | {' | '.join(heads)} | on the NPU |",
        f"|---|---|{'--:|' * (3 * len(splits) + 1)}",
    ]
    for line in lines:
        cells = [_name(line), f"`{line.target}`"]
        for split in splits:
            cells += [_score(line.plain[split]), _score(line.int8[split]), _signed(line, split)]
        cells.append(f"{line.taken} of {line.operators}")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _name(line: Line) -> str:
    return f"{line.network}{', pruned' if line.variant == 'pruned' else ''}"


def _score(score: float) -> str:
    return f"{score:.4f}".removeprefix("0")


def _signed(line: Line, split: str) -> str:
    drop = line.plain[split] - line.int8[split]
    return f"{'-' if drop < 0 else ''}{_score(abs(drop))}"


if __name__ == "__main__":
    try:
        main()
    except EdgepruneError as exc:
        print(f"npu: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
