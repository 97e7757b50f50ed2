"""What a row tells of its measurement is the device's word, whatever this machine has installed."""

from __future__ import annotations

from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.pipeline.context import Build, Candidate
from edgeprune.pipeline.summarize import summarize
from edgeprune.records.scores import Accuracy
from made_contexts import told


def test_a_row_of_another_device_tells_the_version_of_its_runtime_there(context: Build) -> None:
    engine = context.request.out / "model.onnx"
    engine.write_bytes(b"an engine")
    accuracy = Accuracy(split="val", metric="top-1", score=0.5, images=4, per_class={})
    profile = resolve_targets(("x86-ort",))[0]
    scores = dict.fromkeys(context.splits, accuracy)
    row = Candidate(profile, "original", 32, "fp32", Artifact.of(engine, "engine", "fp32"), scores)
    result, file = told(row.name, "0.0.1"), context.request.out / "result.json"
    summary = summarize(context, [row], {row.name: (result, file)}, scores, {}, ())
    assert summary.targets[profile.name].rows[0].runtime_version == "0.0.1"
    assert "onnxruntime" not in summary.versions, "no stage of this build has used this machine's"
