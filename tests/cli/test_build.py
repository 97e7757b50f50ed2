"""The main job, end to end on a tiny detector: what the build folder holds and that its parts agree."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgeprune.backends import rtx
from edgeprune.bench.side_by_side import speedup
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import digest
from edgeprune.core.resources import find_bundled
from edgeprune.images.dataset import Dataset
from edgeprune.records.bench_result import load_result
from edgeprune.records.evaluated import Drop, drop_between
from edgeprune.records.summary import load_summary

ROW_KEYS = {
    "variant", "precision", "runtime", "p50_ms", "p90_ms", "fps", "peak_mb", "size_mb", "metric",
    "score", "others", "drop", "speedup",
}  # fmt: skip
HOST = [profile.name for profile in resolve_targets(("cpu",))]
BOTH = ("original", "pruned")


def conv_widths(path: Path) -> dict[str, int]:
    """Output channels of the convolutions of an ONNX file, by the name of the layer in the checkpoint."""
    graph = onnx.load(path).graph
    shapes = {weight.name: weight.dims for weight in graph.initializer}
    return {
        node.input[1].removesuffix(".weight"): shapes[node.input[1]][0]
        for node in graph.node
        if node.op_type == "Conv" and node.input[1].endswith(".weight")
    }


def test_every_target_has_its_rows_with_every_number(built: Any) -> None:
    assert list(built.summary["targets"]) == [*HOST, "jetson"]
    for profile in resolve_targets(("cpu", "jetson")):
        rows = built.rows(profile.name)
        assert list(rows) == [(variant, precision) for variant in BOTH for precision in profile.precisions]
        for row in rows.values():
            assert row.keys() >= ROW_KEYS
            assert row["runtime"] == profile.backend
            assert row["size_mb"] > 0 and 0 <= row["score"] <= row["others"]["mAP50"] <= 1


@pytest.mark.parametrize("split", ["val", "test"])
def test_every_drop_has_its_interval_and_the_folder_that_it_was_computed_from(built: Any, split: str) -> None:
    rows = [row for name in built.summary["targets"] for row in built.rows(name).values()]
    original = next(row for row in rows if row["variant"] == "original" and row["precision"] == "fp32")
    for row in rows:
        told = row["val"] if split == "val" else row
        low, high = told["drop_interval"]
        found = drop_between(built.out / original["evaluated"], built.out / row["evaluated"], split)
        assert found == Drop(pytest.approx(told["drop"], abs=1e-6), pytest.approx(low), pytest.approx(high))
        assert low <= high


def test_ort_has_the_four_rows_and_openvino_shows_bf16_as_a_row_of_its_own(built: Any) -> None:
    if "x86-ort" not in HOST:
        pytest.skip("the x86 profiles are not this machine's")
    assert set(built.rows("x86-ort")) == {(v, p) for v in BOTH for p in ("fp32", "int8")}
    assert set(built.rows("x86-openvino")) == {(v, p) for v in BOTH for p in ("fp32", "bf16", "int8")}


@pytest.mark.parametrize("target", HOST)
def test_what_runs_here_is_measured_and_int8_really_computes_in_integers(built: Any, target: str) -> None:
    for (_, precision), row in built.rows(target).items():
        assert row["p50_ms"] > 0 and row["fps"] > 0 and row["peak_mb"] > 0
        result = json.loads((built.out / row["bench"]).read_text())
        assert result["artifact"]["sha256"] == row["sha256"]
        assert result["artifact"]["build_s"] == row["built"]["seconds"] > 0
        assert result["artifact"]["built_on"]["runtime"] == f"{row['runtime']} {row['runtime_version']}"
        assert all(block["output_ok"] for block in result["blocks"])
        assert (row["quantized_ops"] or 0) > 0 if precision == "int8" else row["quantized_ops"] is None


def test_a_device_that_is_not_there_gets_no_number(built: Any) -> None:
    for row in built.rows("jetson").values():
        timed = ("p50_ms", "p90_ms", "fps", "peak_mb", "speedup", "bench")
        assert [row[key] for key in timed] == [None] * len(timed)
        assert "accuracy_on_host" in row["flags"] and row["refused"]
    target = built.summary["targets"]["jetson"]
    assert target["chosen"] is None
    assert "not there" in target["verdict"]


def test_files_for_tensorrt_are_proven_without_the_device_where_that_can_be(built: Any) -> None:
    proof = {"version": rtx.version(), "capabilities": ["SM86", "SM89"]} if rtx.version() else None
    for name, target in built.summary["targets"].items():
        for row in target["rows"]:
            assert row["ahead_of_time"] == (proof if name == "jetson" else None)
    logs = {
        f"jetson-{variant}-{precision}.tensorrt-rtx.log" for variant in BOTH for precision in ("fp16", "int8")
    }
    assert {path.name for path in (built.out / "logs").glob("*")} == (logs if proof else set())


def test_a_folder_for_the_device_holds_the_files_and_the_commands(built: Any) -> None:
    folder = built.out / "jetson"
    files = {f"{variant}-{precision}.onnx" for variant in BOTH for precision in ("fp16", "int8")}
    assert {path.name for path in folder.iterdir()} == files | {"build.sh", "preprocess.json"}
    script = (folder / "build.sh").read_text()
    for name in files:
        onnx.checker.check_model(onnx.load(folder / name))
        assert f"trtexec --onnx={name}" in script
    kinds = {weight.data_type for weight in onnx.load(folder / "original-fp16.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load(folder / "pruned-int8.onnx").graph.node)
    assert tuple(built.summary["targets"]["jetson"]["on_device"]) == tuple(
        line for line in script.splitlines() if line.startswith("trtexec")
    )


def test_no_pruned_file_is_the_original_one_in_any_precision(built: Any) -> None:
    """A key of the cache once left out the variant, and the pruned int8 row was the original's."""
    rows = [row for target in built.summary["targets"].values() for row in target["rows"]]
    for row in rows:
        assert digest(built.out / row["artifact"]) == row["sha256"]
    for target in built.summary["targets"]:
        found = built.rows(target)
        for (variant, precision), row in found.items():
            if variant == "pruned":
                original = found["original", precision]
                assert row["sha256"] != original["sha256"]
                assert row["size_mb"] < 0.8 * original["size_mb"]


@pytest.mark.parametrize("target", [*HOST, "jetson"])
def test_pruned_widths_are_multiples_of_the_step_that_this_target_wants(built: Any, target: str) -> None:
    profile = resolve_targets((target,))[0]
    pruning = built.summary["targets"][target]["pruning"]
    assert pruning["step"] == profile.step
    assert pruning["params_after"] < pruning["params_before"]
    assert pruning["score_after_surgery"] is not None
    layers = {layer["layer"]: layer for layer in pruning["layers"]}
    cut = [layer for layer in layers.values() if layer["after"] != layer["before"]]
    assert cut
    assert all(layer["after"] % profile.step == 0 and 0 < layer["after"] < layer["before"] for layer in cut)
    # The account is true of the file that ships, after training and export as well.
    name = "pruned-fp16" if target == "jetson" else "pruned-fp32"
    path = built.out / built.rows(target)[tuple(name.split("-"))]["artifact"]
    if path.suffix == ".onnx":
        widths = conv_widths(path)
        assert len(set(widths) & set(layers)) > 40
        assert all(widths[name] == layers[name]["after"] for name in set(widths) & set(layers))


def test_the_recovered_accuracy_is_that_of_the_pruned_fp32_row(built: Any) -> None:
    for target in HOST:
        expected = built.rows(target)["pruned", "fp32"]["val"]["score"]
        assert built.summary["targets"][target]["pruning"]["score_after_recovery"] == expected


def test_the_summary_is_plain_json_without_nan(built: Any) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads((built.out / "summary.json").read_text(), parse_constant=refuse)


def test_choice_verdict_and_split_are_told_per_target_and_over_all(built: Any) -> None:
    summary = built.summary
    measured = [row for target in HOST for row in built.rows(target).values()]
    allowed = [row for row in measured if not row["refused"]]
    assert summary["chosen"] == max(allowed, key=lambda row: row["speedup"])  # by turns, not by p50 alone
    assert summary["split"] == "test" and summary["selection_split"] == "val"
    assert summary["optimism"] == summary["chosen"]["drop"] - summary["chosen"]["val"]["drop"]
    assert summary["verdict"]
    for target in HOST:
        entry = summary["targets"][target]
        allowed = [row for row in entry["rows"] if not row["refused"]]
        assert entry["chosen"] == max(allowed, key=lambda row: row["speedup"], default=None)
        assert entry["verdict"] and entry["split"] == "test"
        assert all(row["val"]["split"] == "val" for row in entry["rows"])


def test_speedups_are_over_one_reference_and_drops_over_the_original(built: Any) -> None:
    reference = built.rows(HOST[0])["original", "fp32"]
    assert built.summary["reference"] == f"{HOST[0]} original fp32"
    assert reference["speedup"] == 1 and reference["drop"] == 0
    for target in HOST:
        for row in built.rows(target).values():
            found = speedup(*(load_result(built.out / one["bench"]) for one in (reference, row)))
            assert found and found.turns and row["gain"] == found.model_dump()
            assert row["speedup"] == found.times
            assert row["drop"] == pytest.approx(reference["score"] - row["score"])


def test_best_holds_the_chosen_engine_and_all_it_takes_to_run_it(built: Any) -> None:
    chosen, best = built.summary["chosen"], built.out / "best"
    runtime = json.loads((best / "runtime.json").read_text())
    assert digest(best / runtime["engine"]) == chosen["sha256"]
    assert {path.name for path in best.iterdir()} == {runtime["engine"], "preprocess.json", "runtime.json"}
    profile = resolve_targets((chosen["target"],))[0]
    assert runtime["backend"] == chosen["runtime"] and runtime["precision"] == chosen["precision"]
    assert runtime["options"] == profile.options.get(chosen["precision"], {})
    assert runtime["environment"] == chosen["environment"] and runtime["threads"] == 1
    preprocess = json.loads((best / "preprocess.json").read_text())
    assert preprocess["postprocess"]["names"] == built.summary["data"]["names"]
    assert "64" in json.dumps(preprocess)


def test_the_report_is_written_and_the_terminal_shows_the_verdict(built: Any) -> None:
    for name in ("report.html", "report.md"):
        assert built.summary["chosen"]["precision"] in (built.out / name).read_text()
    said = " ".join(built.ended.stdout.split())
    for target in built.summary["targets"].values():
        assert said.count(" ".join(target["verdict"].split())) == 1
    assert said.count(f"{built.summary['chosen']['target']} ") and said.count("is chosen:") == 1
    assert str(built.out / "report.html") in said


def test_standard_error_has_progress_of_every_stage_and_no_noise_of_the_libraries(built: Any) -> None:
    assert built.ended.errors == []


def test_the_same_command_again_makes_nothing_and_says_the_same(
    built: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.cli import build as build_command

    stages: list[str] = []

    @contextmanager
    def recorded(quiet: bool = False) -> Iterator[Any]:
        yield lambda stage, share, text: stages.append(stage)

    monkeypatch.setattr(build_command, "stage_progress", recorded)
    before = {path: path.stat().st_mtime_ns for path in (built.out / "stages").rglob("*")}
    again = run("build", *built.options, "--json")
    assert again.code == 0, again.errors
    assert set(stages) == {"load"}
    ignored = built.out / "stages" / ".lock"
    after = {path: path.stat().st_mtime_ns for path in (built.out / "stages").rglob("*")}
    assert {path for path in after if after[path] != before.get(path) and path != ignored} == set()
    summary = json.loads(again.stdout)
    same = ("targets", "chosen", "verdict", "reference", "exports", "calibration")
    assert {key: summary[key] for key in same} == {key: built.summary[key] for key in same}
    assert load_summary(built.out).model_dump(mode="json") == summary
    assert (built.out / "best" / "runtime.json").is_file()


def test_a_budget_that_nothing_meets_ends_with_7_and_keeps_everything(built: Any, run: Any) -> None:
    ended = run("build", *built.options, "--min-fps", "1e6")
    try:
        assert ended.code == 7
        summary = json.loads((built.out / "summary.json").read_text())
        assert summary["chosen"] is None and not (built.out / "best").exists()
        assert "1e+06 FPS is wanted" in ended.error and summary["nearest_miss"] in ended.error
        rows = [row for name in HOST for row in summary["targets"][name]["rows"]]
        fastest = max(rows, key=lambda row: row["fps"])
        label = f"{fastest['target']} {fastest['variant']} {fastest['precision']}"
        assert summary["nearest_miss"].startswith(label)
        assert all((built.out / row["artifact"]).exists() for row in rows)
        assert (built.out / "report.html").is_file() and (built.out / "jetson").is_dir()
    finally:
        assert run("build", *built.options).code == 0
    assert (built.out / "best").is_dir()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="S8 activations are what x86-64 cannot fuse")
def test_int8_in_name_only_is_a_warning_and_fails_under_strict_after_all_is_written(
    checkpoints: dict[str, Path], tiny: Dataset, run: Any, tmp_path: Path
) -> None:
    """For real: of a network with S8 activations ONNX Runtime runs no convolution in integers here."""
    profile = find_bundled("targets") / "x86-ort.yaml"
    target = tmp_path / "s8s8.yaml"
    target.write_text(profile.read_text().replace("ort-u8s8", "ort-s8s8"))
    out = tmp_path / "out"
    options = (
        *("--model", checkpoints["yolov8n"], "--data", tiny.source, "--imgsz", "64", "--target", target),
        *("--no-prune", "--bench", "quick", "--max-drop", "1", "--set", "quantize.images=4", "--out", out),
    )
    ended = run("build", *options, "--strict")
    assert ended.code == 7 and "--strict" in ended.error and "no_effect (s8s8 original int8)" in ended.error
    summary = json.loads((out / "summary.json").read_text())
    row = next(row for row in summary["targets"]["s8s8"]["rows"] if row["precision"] == "int8")
    warning = next(entry for entry in summary["warnings"] if entry["code"] == "no_effect")
    assert warning["rows"] == ["s8s8 original int8"]
    assert f"{row['quantized_ops']} of {row['convolutions']} convolutions run in integers" in warning["text"]
    assert row["quantized_ops"] < row["convolutions"] / 2 and row["convolutions"] > 50
    assert summary["chosen"] and (out / "best").is_dir()
    assert " ".join(warning["text"].split()) in " ".join(ended.stdout.split())
    for name in ("report.html", "report.md"):
        assert "int8 in name only" in (out / name).read_text()
    assert run("build", *options).code == 0
