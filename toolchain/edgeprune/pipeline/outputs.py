"""What a user takes away from a build: `best/`, and a folder for each target that is built elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeprune.backends import get_backend, options_for
from edgeprune.core.artifact import Artifact
from edgeprune.core.files import write_text_atomically
from edgeprune.images.size import ImageSize
from edgeprune.images.spec import FILE as SPEC_FILE
from edgeprune.images.spec import Spec
from edgeprune.pipeline.context import Build, Candidate
from edgeprune.pipeline.rows import EMBEDDED, embed_spec
from edgeprune.records.summary import Row, Summary

BEST = "best"


@dataclass(frozen=True)
class Folder:
    """What lies in a folder that a user takes away.

    Attributes:
        copied: files and folders by their name in it.
        texts: contents by file name.
    """

    copied: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def write_outputs(context: Build, candidates: Sequence[Candidate], summary: Summary) -> None:
    """Leave what a user takes away: `best/` with the chosen engine, a folder for each target built elsewhere.

    Beside the engine lie `preprocess.json` (what an image and the output go through) and `runtime.json` (how
    the runtime has to be started for the measured numbers: options, threads, environment variables). Where a
    folder holds networks of several input sizes, those of another size than the build's have a
    `<variant>-preprocess.json` of their own.
    """
    out = context.request.out
    folders: dict[str, Folder] = {}
    for entry in candidates:
        if not context.testbed.measures(entry.profile):
            _add(context, entry, folders.setdefault(entry.profile.name, Folder()))
    for name, folder in folders.items():
        if commands := summary.targets[name].on_device:
            folder.texts["build.sh"] = "\n".join(
                ("#!/bin/sh", "set -e", 'cd "$(dirname "$0")"', *commands, "")
            )
    if summary.chosen:
        folders[BEST] = _best(context, summary.chosen)
    else:
        shutil.rmtree(out / BEST, ignore_errors=True)
    for name, folder in folders.items():
        _write(folder, out / name, out / f".partial-{name}")


def device_file(variant: str, precision: str, suffix: str) -> str:
    """Return what a row's file is called in the folder of a target that is built elsewhere."""
    return f"{variant}-{precision}{suffix}"


def _add(context: Build, entry: Candidate, folder: Folder) -> None:
    """Add a row's artifact to the folder of its target."""
    path = entry.artifact.path
    for source in get_backend(entry.profile.backend).parts(path):
        suffix = source.name.removeprefix(path.stem)
        folder.copied[device_file(entry.variant, entry.precision, suffix)] = source
    name = f"{entry.variant}-{SPEC_FILE}" if entry.resized else SPEC_FILE
    folder.texts[name] = _spec(context, entry.imgsz)


def _best(context: Build, chosen: Row) -> Folder:
    """Return the chosen row's engine, with what it is run with."""
    place = context.request.out / chosen.artifact
    copied = {source.name: source for source in get_backend(chosen.runtime).parts(place)}
    if context.recipe.export.embed and chosen.val:
        engine = Artifact.of(place, "engine", chosen.precision)
        own = context.at(chosen.imgsz or context.spec.imgsz)
        copied[EMBEDDED] = embed_spec(own, engine, chosen.val)
    texts = {SPEC_FILE: _spec(context, chosen.imgsz), "runtime.json": _runtime(context, chosen)}
    return Folder(copied, texts)


def _write(folder: Folder, place: Path, partial: Path) -> None:
    """Write a folder beside its place, then put it there whole."""
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name, source in folder.copied.items():
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, partial / name)
    for name, text in folder.texts.items():
        write_text_atomically(partial / name, text)
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)


def _spec(context: Build, imgsz: ImageSize | None) -> str:
    """Return the text of `preprocess.json` for an input size, None for the build's own."""
    preprocess = context.at(imgsz or context.spec.imgsz).spec
    return Spec(preprocess=preprocess, postprocess=context.info.postprocess).to_json()


def _runtime(context: Build, row: Row) -> str:
    """Return the text of `runtime.json`."""
    profile = next(profile for profile in context.request.targets if profile.name == row.target)
    facts = {
        "target": row.target,
        "variant": row.variant,
        "engine": Path(row.artifact).name,
        "sha256": row.sha256,
        "backend": row.runtime,
        "version": row.runtime_version,
        "precision": row.precision,
        "options": options_for(profile, row.precision),
        "threads": context.recipe.bench.threads,
        "environment": row.environment,
    }
    return json.dumps(facts, indent=1) + "\n"
