"""Build folders to report on. Every number in them is synthetic: test data, measured nowhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeprune.core.files import write_text_atomically
from edgeprune.records.bench_result import BenchResult, Block, Cold, Flag, Memory
from edgeprune.records.pruning import LayerWidth, Pruning
from edgeprune.records.scores import Accuracy
from edgeprune.records.speedup import Speedup
from edgeprune.records.summary import (
    AheadOfTime,
    Calibration,
    ExportCheck,
    Row,
    SanityWarning,
    Summary,
    TargetSummary,
    save_summary,
)

CLASSES = ("Platelets", "RBC", "WBC")
# target, variant, precision, p50 ms, mAP50-95
MEASURED = (
    ("x86-ort", "original", "fp32", 25.0, 0.5800),
    ("x86-ort", "original", "int8", 13.0, 0.5740),
    ("x86-ort", "pruned", "fp32", 18.0, 0.5760),
    ("x86-ort", "pruned", "int8", 8.5, 0.5710),
    ("x86-openvino", "original", "fp32", 23.0, 0.5800),
    ("x86-openvino", "original", "bf16", 14.0, 0.5790),
    ("x86-openvino", "original", "int8", 10.5, 0.5750),
    ("x86-openvino", "pruned", "fp32", 16.0, 0.5760),
    ("x86-openvino", "pruned", "bf16", 10.0, 0.5620),
    ("x86-openvino", "pruned", "int8", 7.5, 0.5730),
)
REFERENCE_MS, REFERENCE_MAP = 25.0, 0.58
VERSIONS = {"x86-ort": ("onnxruntime", "1.31.1"), "x86-openvino": ("openvino", "2026.4.1")}


# As `read_environment` tells it on a virtual machine, with the kernel's largest number for "no limit".
ENVIRONMENT = {
    "machine": "x86_64",
    "board": None,
    "cpu": "Test CPU",
    "cores": 4,
    "affinity": [0, 1, 3],
    "os": "Debian GNU/Linux 12 (bookworm)",
    "kernel": "6.1.0",
    "python": "3.11.7",
    "time": 946684800.25,
    "load": [0.41015625, 0.5, 0.25],
    "frequency": None,
    "capacity": {"cpu0": "1024", "cpu1": "1024"},
    "kinds": None,
    "cgroup": {"cpu": "-1 100000", "memory": "9223372036854771712"},
    "memory_kb": {"MemTotal": 24684084, "MemAvailable": 18740476, "SwapTotal": 0, "SwapFree": 0},
    "swapped_pages": {"pswpin": 0, "pswpout": 0},
    "thermal_c": {"thermal_zone0 cpu": 41.25},
    "variables": {"LD_LIBRARY_PATH": "/opt/secret/lib:/usr/lib", "OMP_NUM_THREADS": "1"},
}


def bench_result(name: str, p50: float, queries: int = 1100, flags: tuple[Flag, ...] = ()) -> BenchResult:
    """Five processes of a long-tailed, two-moded latency, the same bytes everywhere."""
    blocks = []
    for order in range(5):
        samples = []
        for index in range(queries // 5):
            u = ((order * 7919 + index) * 0.6180339887) % 1.0
            spread = (
                0.05 * (u - 0.5)
                + (0.22 if u > 0.93 else 0.0)
                + (2.5 * (u - 0.996) / 0.004 if u > 0.996 else 0.0)
            )
            samples.append(round(1e6 * p50 * (1 + spread + 0.004 * order)))
        blocks.append(
            Block(
                pid=1000 + order,
                order=order,
                t_start=0.0,
                warmup_n=40,
                samples_ns=tuple(samples),
                elapsed_ns=sum(samples),
                canary_before_ns=1_000_000,
                canary_after_ns=1_000_000,
                ctxt_invol=3,
                majflt=0,
            )
        )
    return BenchResult(
        run_id="test",
        started_utc="2000-01-01T00:00:00Z",
        name=name,
        tool={"version": "0.1.0"},
        artifact={},
        backend={},
        scenario={"name": "single_stream"},
        blocks=tuple(blocks),
        cold_ms=Cold(load=120.5, first_infer=p50 * 1.5),
        memory=Memory(baseline_hwm=41.0, load_hwm=66.0, peak_hwm=70.0 + p50, method="VmHWM"),
        env_before={},
        env_after={},
        flags=flags,
    )


def gain(times: float, disturbed: bool) -> Speedup:
    """A speed-up known to 2 %, that of the reference over itself apart."""
    width = 1.0 if times == 1 else 1.02
    return Speedup(times=times, low=times / width, high=times * width, turns=1100, disturbed=disturbed)


def row(target: str, variant: Any, precision: str, p50: float | None, rated: float, **changes: Any) -> Row:
    drop = round(REFERENCE_MAP - rated, 6)
    runtime, version = VERSIONS.get(target, ("tensorrt", None))
    name = f"{target}/{variant}-{precision}"
    fields: dict[str, Any] = {
        "target": target,
        "variant": variant,
        "precision": precision,
        "runtime": runtime,
        "runtime_version": version,
        "p50_ms": p50,
        "p90_ms": None if p50 is None else p50 * 1.02,
        "fps": None if p50 is None else 960 / p50,
        "peak_mb": None if p50 is None else 70 + p50,
        "size_mb": {"fp32": 12.1, "int8": 3.4}.get(precision, 6.2) * (0.7 if variant == "pruned" else 1),
        "metric": "mAP50-95",
        "score": rated,
        "others": {"mAP50": rated + 0.3},
        "drop": drop,
        "drop_interval": (drop - 0.009, drop + 0.012) if drop else (0.0, 0.0),
        "speedup": None if p50 is None else REFERENCE_MS / p50,
        "gain": None if p50 is None else gain(REFERENCE_MS / p50, (variant, precision) == ("pruned", "fp32")),
        "val": Accuracy(
            metric="mAP50-95",
            split="val",
            images=73,
            score=rated,
            others={"mAP50": rated + 0.3},
            drop=drop + 0.0005,
            drop_interval=(drop - 0.0115, drop + 0.0125) if drop else (0.0, 0.0),
        ),
        "per_class": {name: rated + 0.1 * (index - 1) for index, name in enumerate(CLASSES)},
        "quantized_ops": 57 if precision == "int8" else None,
        "refused": ("It loses 0.0185 mAP50-95 on val; the budget is 0.01.",) if drop > 0.01 else (),
        "artifact": f"{name}/model.onnx",
        "sha256": "ab" * 32,
        "bench": None if p50 is None else f"bench/{target}-{variant}-{precision}.json",
    }
    return Row(**(fields | changes))


def pruning(layers: int = 9) -> Pruning:
    widths = [16, 32, 64, 128, 256]
    return Pruning(
        criterion="group_norm",
        goal="ratio 0.3",
        ratio=0.3,
        step=16,
        params_before=3_011_433,
        params_after=1_623_211,
        macs_before=1_021_542_400,
        macs_after=587_202_560,
        metric="mAP50-95",
        score_after_surgery=0.3120,
        score_after_recovery=0.5761,
        layers=tuple(
            LayerWidth(
                layer=f"model.{index // 3}.cv{index % 3 + 1}.conv",
                before=widths[index * 5 // layers],
                after=max(16, widths[index * 5 // layers] * 3 // 4 // 16 * 16)
                if index % 7
                else widths[index * 5 // layers],
                prunable=bool(index % 7),
            )
            for index in range(layers)
        ),
    )


def jetson() -> TargetSummary:
    rows = tuple(
        row(
            "jetson",
            variant,
            precision,
            None,
            0.0,
            score=None,
            others={},
            drop=None,
            drop_interval=None,
            per_class={},
            val=None,
            refused=(),
            ahead_of_time=AheadOfTime(version="1.7.1", capabilities=("SM86", "SM89")),
        )
        for variant in ("original", "pruned")
        for precision in ("fp16", "int8")
    )
    return TargetSummary(
        rows=rows,
        chosen=None,
        verdict="Nothing was measured: the engine has to be built on the Jetson.",
        split="test",
        pruning=pruning(),
        on_device=(
            "trtexec --onnx=jetson/pruned-int8/model.onnx --stronglyTyped --saveEngine=pruned-int8.engine",
            "trtexec --loadEngine=pruned-int8.engine --warmUp=2000 --duration=60 --percentile=50,90,99",
        ),
    )


def summary(**changes: Any) -> Summary:
    rows = {name: tuple(row(*entry) for entry in MEASURED if entry[0] == name) for name in VERSIONS}
    targets = {
        name: TargetSummary(
            rows=rows[name],
            chosen=rows[name][-1],
            verdict=f"Pruning was worth it on {name}: pruned int8 beats int8 alone inside the budget.",
            split="test",
            pruning=pruning(),
        )
        for name in VERSIONS
    }
    fields: dict[str, Any] = {
        "created_utc": "2000-01-01T00:00:00Z",
        "command": "edgeprune build --model best.pt --data data.yaml --target cpu --max-drop 0.01 --out DIR",
        "model": {"name": "yolov8n_320", "path": "models/yolov8n_320.pt", "classes": list(CLASSES)},
        "data": {"yaml": "data.yaml", "images": {"train": 255, "val": 73, "test": 36}},
        "imgsz": 320,
        "split": "test",
        "selection_split": "val",
        "budget": {"max_drop": 0.01, "min_fps": None, "max_latency_ms": 15.0, "max_memory_mb": None},
        "bench_profile": "standard",
        "threads": 1,
        "targets": targets | {"jetson": jetson()},
        "chosen": rows["x86-openvino"][-1],
        "verdict": "Pruning was worth it: pruned int8 on x86-openvino is 3.33x the original fp32 and 1.40x "
        "int8 alone, for 0.0070 mAP50-95.",
        "reference": "x86-ort original fp32",
        "warnings": (
            SanityWarning(
                code="pruned_slower",
                rows=("x86-ort pruned fp32", "x86-ort original fp32"),
                text="x86-ort pruned fp32 takes <b>26.00</b> ms against 25.00 ms of original fp32.",
                advice="Prune to a latency.",
            ),
        ),
        "calibration": Calibration(images=128, seed=0, split="train", list_sha256="cd" * 32),
        "exports": (
            ExportCheck(variant="original", images=8, box_px=0.00041, score=2.4e-6),
            ExportCheck(variant="pruned", images=8, box_px=0.00038, score=1.9e-6),
        ),
        "environment": ENVIRONMENT,
        "versions": {"edgeprune": "0.1.0", "onnxruntime": "1.31.1", "openvino": "2026.4.1"},
        "seconds": {"prune": 2.5, "finetune": 611.0, "bench": 640.2},
    }
    return Summary(**(fields | changes))


def write_benches(folder: Path, built: Summary) -> None:
    for entry in built.rows():
        if entry.bench is None or entry.p50_ms is None:
            continue
        flags = ()
        if entry.label == "x86-ort pruned int8":
            flags = (
                Flag(code="noisy", severity="warning", evidence="block medians spread 6.1 % (limit 5 %)"),
            )
        result = bench_result(entry.label, entry.p50_ms, flags=flags)
        write_text_atomically(folder / entry.bench, result.model_dump_json())


def write_build(folder: Path, benches: bool = True, **changes: Any) -> Path:
    """Write a build folder, with changes to its summary, and return it."""
    built = summary(**changes)
    save_summary(built, folder)
    if benches:
        write_benches(folder, built)
    return folder


@pytest.fixture
def make_build(tmp_path: Path) -> Callable[..., Path]:
    """Return `write_build` for this test's own folder."""
    return partial(write_build, tmp_path / "build")


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Return a function that holds a text against a file of `golden/`; UPDATE_GOLDEN=1 rewrites it."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(scope="session")
def parts() -> SimpleNamespace:
    """Return the functions that make summaries, so that a test can change one thing."""
    return SimpleNamespace(
        summary=summary, pruning=pruning, row=row, bench_result=bench_result, write_build=write_build
    )
