"""The rules of the tests themselves: a module's test is found by its name, and nothing private is patched."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgeprune

TESTS = Path(__file__).parent
PACKAGE = Path(edgeprune.__file__).parent
LARGE = 60
FILES = sorted(TESTS.rglob("*.py"))
PATCHING = {"setattr", "delattr", "patch", "object"}


def _private(dotted: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in dotted.split("."))


def _patched(call: ast.Call) -> Iterator[str]:
    """Yield what a call patches, as its text tells: `setattr(a.b, "c", ...)` or `setattr("a.b.c", ...)`."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in PATCHING:
        for given in call.args[:2]:
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                yield given.value
            elif isinstance(given, ast.Attribute | ast.Name):
                yield ast.unparse(given)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.relative_to(TESTS).as_posix())
def test_nothing_private_is_patched(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            for name in _patched(node):
                assert not _private(name), f"line {node.lineno} patches {name}: give it a name that is public"


# Modules without a test file of their own name, by the file that tests them: one behaviour of several,
# or a whole command.
ELSEWHERE = {
    "adapters/ultralytics/test_classify.py": ("adapters/top_k", "adapters/ultralytics/distil"),
    "adapters/ultralytics/test_finetune.py": ("adapters/ultralytics/detect",),
    "adapters/ultralytics/test_rounding.py": ("adapters/ultralytics/aware",),
    "adapters/ultralytics/test_tasks.py": (
        "adapters/ultralytics/obb",
        "adapters/ultralytics/pose",
        "adapters/ultralytics/segment",
        "adapters/ultralytics/targets",
    ),
    "adapters/yolov5/test_detect.py": ("adapters/yolov5/writing",),
    "backends/test_cpu_backends.py": ("backends/onnxruntime", "backends/openvino"),
    "backends/test_ncnn.py": ("backends/ncnn_files", "backends/pnnx"),
    "backends/test_program_backends.py": ("backends/executorch", "backends/litert"),
    "backends/test_rknn.py": ("quantize/rknn_hybrid",),
    "backends/test_rtx.py": ("backends/nvidia", "quantize/half"),
    "adapters/onnx/test_bare.py": ("adapters/onnx/network", "adapters/onnx/rewriting", "adapters/onnx/told"),
    "adapters/onnx/test_loading.py": (
        "adapters/onnx/functions",
        "adapters/onnx/naming",
        "adapters/onnx/layers",
        "adapters/onnx/operators",
        "adapters/onnx/reading",
    ),
    "adapters/test_collection.py": ("adapters/timm", "adapters/torchvision"),
    "adapters/test_own.py": ("adapters/bounded", "adapters/own_class"),
    "bench/test_flags.py": ("bench/machine_flags", "records/facts", "records/figures"),
    "bench/test_foreign_engines.py": ("bench/foreign", "bench/inventory"),
    "bench/test_protocol.py": (
        "bench/effort",
        "bench/jobs",
        "bench/placing",
        "bench/testbed",
        "records/bench_result",
    ),
    "bench/test_scenario_runs.py": (
        "bench/setup",
        "worker/scenarios/block",
        "worker/scenarios/single_stream",
    ),
    "cli/test_against.py": ("bench/against",),
    "cli/test_bench.py": ("bench/sessions", "worker/benchmark"),
    "cli/test_check.py": ("gate/judged", "gate/result"),
    "cli/test_commands.py": ("cli/options", "cli/runtimes", "cli/targets", "cli/usage"),
    "cli/test_device.py": ("runners/runtimes",),
    "cli/test_devices.py": ("runners/known",),
    "cli/test_emulated.py": ("runners/emulated", "worker/answer"),
    "cli/test_ending.py": ("core/scratch",),
    "cli/test_explain.py": ("explain/run", "report/explain"),
    "cli/test_judged.py": ("adapters/judged", "adapters/metric_process"),
    "cli/test_outside_model.py": ("adapters/classifier", "models/recovery"),
    "cli/test_outside_runtime.py": ("core/backend_types",),
    "cli/test_profile.py": ("latency/profile", "latency/rounds", "report/staircase"),
    "cli/test_search.py": ("report/search", "search/pareto", "search/run", "search/trial"),
    "cli/test_sweep.py": ("search/sparsity",),
    "cli/test_unlabelled.py": ("adapters/delegating", "adapters/unlabelled"),
    "config/test_limits.py": ("cli/numbers",),
    "explain/test_layer_costs.py": ("bench/node_times",),
    "gate/test_run.py": ("gate/pairs",),
    "history/test_store.py": ("core/database", "history/entry", "history/reading", "history/schema"),
    "images/reading/test_inspection.py": (
        "images/reading/index",
        "images/reading/listing",
        "images/reading/notes",
    ),
    "images/test_spec.py": ("images/postprocess",),
    "images/test_preprocess.py": ("images/pixels",),
    "latency/test_to_latency.py": ("latency/grids", "latency/shipped"),
    "models/checkpoint/test_pickled.py": ("models/checkpoint/container", "models/checkpoint/tensors"),
    "models/checkpoint/test_rebuild.py": ("models/checkpoint/layers",),
    "models/test_adapters.py": ("models/adapter",),
    "models/test_hostile_checkpoints.py": ("models/checkpoint/fields", "models/checkpoint/names"),
    "models/test_safe_load.py": ("adapters/ultralytics/checkpoint",),
    "cli/test_jetson.py": ("backends/tensorrt_session", "pipeline/evaluate"),
    "bench/test_compiling.py": ("worker/compile",),
    "pipeline/solve/test_run.py": ("pipeline/solve/begin",),
    "pipeline/test_build.py": ("pipeline/load", "pipeline/rows", "pipeline/train"),
    "pipeline/test_prune.py": ("pipeline/cut_to_size",),
    "pipeline/test_sanity.py": ("records/pruning",),
    "prune/test_criteria.py": ("prune/evidence", "prune/groups", "prune/stages"),
    "prune/test_surgery.py": ("prune/whole",),
    "quantize/test_calibration.py": ("quantize/bias", "quantize/qdq"),
    "quantize/test_quantize.py": ("quantize/nncf_openvino",),
    "report/test_gate.py": ("report/gate/junit",),
    "report/test_html.py": ("report/bars", "report/distribution", "report/facts", "report/tables"),
    "report/test_history.py": ("report/page",),
    "report/test_sensitivity.py": ("records/sensitivity",),
    "runners/test_remote.py": ("runners/connection",),
    "worker/sensors/test_power_and_memory.py": (
        "worker/sensors/memory",
        "worker/sensors/nvidia",
        "worker/sensors/odpm",
        "worker/sensors/power",
    ),
    "worker/sensors/test_processor.py": ("worker/sensors/cpu", "worker/sensors/throttling"),
    "worker/sensors/test_vendors.py": (
        "worker/sensors/android",
        "worker/sensors/files",
        "worker/sensors/jetson",
    ),
    "worker/test_layers.py": ("latency/micronet", "worker/nodes"),
}


def _large_modules() -> set[str]:
    """Return the modules of more than 60 lines; converters' scripts run in other environments."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).with_suffix("")
        elsewhere = module.name == "__init__" or {"scripts", "_bundled"} & set(module.parts)
        if not elsewhere and len(path.read_text(encoding="utf-8").splitlines()) > LARGE:
            found.add(module.as_posix())
    return found


def test_a_modules_test_is_found_by_its_name() -> None:
    modules = _large_modules()
    listed = [module for told in ELSEWHERE.values() for module in told]
    own = {
        module for module in modules if (TESTS / module).with_name(f"test_{Path(module).name}.py").is_file()
    }
    assert sorted(modules - own) == sorted(listed)
    assert [file for file in ELSEWHERE if not (TESTS / file).is_file()] == []
