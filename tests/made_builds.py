"""A build folder with rows of engines that are there already, where no test needs the build itself."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import digest
from edgeprune.records.scores import Accuracy
from edgeprune.records.summary import Row, TargetSummary, save_summary
from made_summaries import a_summary


def write_build(folder: Path, targets: Mapping[str, Mapping[str, Path]]) -> Path:
    """Write a build of ONNX files: by target and precision the file of a row, which is copied into it.

    A target may be the path of a profile; it travels with the build.

    A target that is this machine is measured; its last row is the chosen one. An int8 row has an environment.
    """
    summaries = {}
    for target, files in targets.items():
        (profile,) = resolve_targets((target,))
        name, rows = profile.name, []
        for precision, source in files.items():
            engine = folder / name / f"{precision}.onnx"
            engine.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, engine)
            rows.append(
                Row(
                    target=name,
                    variant="original",
                    precision=precision,
                    runtime=profile.backend,
                    p50_ms=1.0 if profile.runs_here else None,
                    size_mb=0.1,
                    val=Accuracy(metric="mAP50-95", split="val", images=5, score=0.5),
                    metric="mAP50-95",
                    score=0.1,
                    environment={"ONEDNN_MAX_CPU_ISA": "AVX2"} if precision == "int8" else {},
                    artifact=engine.relative_to(folder).as_posix(),
                    sha256=digest(engine),
                )
            )
        chosen = rows[-1] if profile.runs_here else None
        summaries[name] = TargetSummary(
            profile=profile, rows=tuple(rows), chosen=chosen, verdict="-", split="test"
        )
    data = {"path": str(folder / "gone.yaml")}
    update = {"targets": summaries, "chosen": next(iter(summaries.values())).chosen, "data": data}
    save_summary(a_summary().model_copy(update=update), folder)
    return folder
