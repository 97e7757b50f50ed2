"""What a user takes away: the chosen engine with what runs it, and nothing of an earlier build."""

from __future__ import annotations

import json
from dataclasses import replace

from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.pipeline.context import Build, Candidate
from edgeprune.pipeline.outputs import write_outputs
from edgeprune.pipeline.summarize import summarize
from edgeprune.records.scores import Accuracy
from edgeprune.records.summary import Summary
from made_contexts import told


def built(context: Build, target: str) -> tuple[list[Candidate], Summary]:
    """Return the rows and the summary of a build of one target, timed where it is measured."""
    engine = context.request.out / "stages" / "model.onnx"
    engine.write_bytes(b"an engine")
    accuracy = Accuracy(split="val", metric="top-1", score=0.5, images=4, per_class={})
    profile = resolve_targets((target,))[0]
    scores = dict.fromkeys(context.splits, accuracy)
    row = Candidate(profile, "original", 32, "fp32", Artifact.of(engine, "engine", "fp32"), scores)
    results = {row.name: (told(row.name, "1.0"), engine)} if context.testbed.measures(profile) else {}
    own = replace(context, request=replace(context.request, targets=(profile,)))
    return [row], summarize(own, [row], results, scores, {}, ())


def test_the_chosen_engine_lies_in_best_with_what_runs_it(context: Build) -> None:
    write_outputs(context, *built(context, "x86-ort"))
    best = context.request.out / "best"
    assert sorted(path.name for path in best.iterdir()) == ["model.onnx", "preprocess.json", "runtime.json"]
    assert (best / "model.onnx").read_bytes() == b"an engine"
    assert json.loads((best / "runtime.json").read_text())["engine"] == "model.onnx"
    assert json.loads((best / "preprocess.json").read_text())["preprocess"]["imgsz"] == 32


def test_a_target_that_is_measured_elsewhere_has_a_folder_of_its_own_and_no_old_best_stays(
    context: Build,
) -> None:
    write_outputs(context, *built(context, "x86-ort"))
    write_outputs(context, *built(context, "rpi5"))
    out = context.request.out
    assert not (out / "best").exists()
    assert sorted(path.name for path in (out / "rpi5").iterdir()) == [
        "original-fp32.onnx",
        "preprocess.json",
    ]
