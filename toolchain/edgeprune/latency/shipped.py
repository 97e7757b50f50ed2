"""A network as it ships: loaded, cut to widths, exported, quantized and compiled for one target."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from edgeprune.backends import get_backend, options_for, require_batch
from edgeprune.bench.compiling import compile_for
from edgeprune.bench.stock import stock_images
from edgeprune.bench.testbed import Testbed
from edgeprune.config.recipe import ExportRecipe
from edgeprune.config.targets import DeviceProfile, Precision
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError
from edgeprune.export.onnx import export, export_program
from edgeprune.images.preprocess import Preprocess
from edgeprune.images.size import ImageSize, input_shape, misfit
from edgeprune.models import ModelAdapter
from edgeprune.models.source import network_key
from edgeprune.prune.groups import find_groups, remove, trace
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.quantize.half import to_fp16, wants_fp16
from edgeprune.records.latency_table import TableKey

_CALIBRATION_IMAGES = 4


@dataclass(frozen=True)
class ProfiledNetwork:
    """What is profiled: a network on a target at a precision.

    Attributes:
        batch: images that it takes at once.
    """

    adapter: ModelAdapter
    model: nn.Module
    digest: str
    imgsz: ImageSize
    profile: DeviceProfile
    precision: Precision
    threads: int
    batch: int = 1

    @property
    def spec(self) -> Preprocess:
        """How images become its input."""
        return replace(self.adapter.preprocess(self.imgsz), batch=self.batch)


def subject_of(
    adapter: ModelAdapter,
    path: Path,
    imgsz: ImageSize | None,
    profile: DeviceProfile,
    precision: Precision | None,
    threads: int,
    batch: int = 1,
) -> ProfiledNetwork:
    """Load a checkpoint as what is to be profiled.

    Raises:
        ConfigError: the checkpoint does not tell its image size and none is given, the size is no multiple of
            the network's stride, or the target's runtime takes no batch.
        ModelError: it cannot be read.
    """
    require_batch(profile, batch)
    model = adapter.load(path)
    info = adapter.info(model)
    side = imgsz or info.imgsz
    if side is None:
        raise ConfigError(f"{path}: the checkpoint does not tell its image size; give --imgsz")
    if wrong := misfit(side, info.stride):
        raise ConfigError(f"--imgsz: {wrong}")
    shipped = precision or profile.ship
    return ProfiledNetwork(
        adapter, adapter.prunable(model), network_key(adapter, path), side, profile, shipped, threads, batch
    )


def cut_widths(
    adapter: ModelAdapter, model: nn.Module, imgsz: ImageSize, keep: Mapping[str, int]
) -> nn.Module:
    """Return a copy of a prunable network whose groups keep their first so many channels.

    Which channels stay does not matter to latency.
    """
    twin = copy.deepcopy(model)
    fixed = adapter.unprunable(twin)
    graph = trace(twin, torch.zeros(input_shape(imgsz)), fixed)
    for group in find_groups(graph, twin, fixed):
        if keep.get(group.name, group.width) < group.width:
            remove(graph, group, list(range(keep[group.name], group.width)))
    return twin


def compile_shipped(subject: ProfiledNetwork, model: nn.Module, out: Path, testbed: Testbed) -> Artifact:
    """Export, quantize and compile a network as it would ship; calibrated on stock photographs.

    Args:
        out: folder for what is made on the way; made if it is not there.
        testbed: the device that it is timed on, which compiles where only the device can.
    """
    adapter, profile = subject.adapter, subject.profile
    spec = subject.spec
    backend = get_backend(profile.backend)
    photos = _photographs(subject.imgsz, out / "images")
    info = adapter.info(model)
    info = info if backend.END2END else info.before_nms()
    module = adapter.exportable(model, info.end2end)
    if backend.SOURCE == "program":
        taken = export_program(module, spec, out)
    else:
        taken, _ = export(module, info, spec, photos[:1], ExportRecipe(), "original", out / "model.onnx")
    if subject.precision == "int8":
        taken = quantize(taken, profile.scheme, CalibrationSet(photos, spec), adapter, _made(out / "int8"))
    if wants_fp16(subject.precision, profile.scheme, backend.HALF_GRAPH):
        taken = to_fp16(taken, _made(out / "half"))
    return compile_for(testbed, profile, taken, subject.precision, _made(out / "compiled"))


def engine_of(
    adapter: ModelAdapter,
    checkpoint: Path,
    spec: Preprocess,
    profile: DeviceProfile,
    threads: int,
    out: Path,
    testbed: Testbed,
) -> Artifact:
    """Export, quantize and compile a checkpoint as it would ship, for timing.

    Raises:
        CompileError: the runtime cannot use it.
    """
    subject = subject_of(adapter, checkpoint, spec.imgsz, profile, profile.ship, threads, spec.batch)
    return compile_shipped(subject, subject.model, out, testbed)


def key_of(subject: ProfiledNetwork, environment: Mapping[str, str], testbed: Testbed) -> TableKey:
    """Return what a table measured there and now is true of."""
    device = testbed.machine
    profile = subject.profile
    return TableKey(
        machine=device["machine"],
        board=device["board"],
        cpu=device["cpu"],
        cores=device["cores"],
        runtime=profile.backend,
        runtime_version=str(testbed.version(profile.backend)),
        precision=subject.precision,
        threads=subject.threads,
        options=options_for(profile, subject.precision),
        environment=dict(environment),
    )


def _photographs(imgsz: ImageSize, folder: Path) -> tuple[Path, ...]:
    """Write a few stock photographs as image files: calibration reads files."""
    folder.mkdir(parents=True)
    paths = []
    for index, tensor in enumerate(stock_images(Preprocess(imgsz))[:_CALIBRATION_IMAGES]):
        image = (tensor.transpose(1, 2, 0)[:, :, ::-1] * 255).round().astype(np.uint8)
        paths.append(folder / f"{index}.png")
        cv2.imwrite(str(paths[-1]), image)
    return tuple(paths)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
