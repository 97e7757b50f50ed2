"""What travels to a device: the same bytes each time, and only the modules that may."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from edgeprune.runners.remote import RemoteRunner
from edgeprune.runners.travel import write_package
from test_imports import TRAVELS


def test_the_package_is_always_the_same_file(tmp_path: Path) -> None:
    one, two = (write_package(tmp_path / name).read_bytes() for name in ("one.zip", "two.zip"))
    assert one == two


def test_what_travels_is_what_may(tmp_path: Path) -> None:
    names = zipfile.ZipFile(write_package(tmp_path / "package.zip")).namelist()
    modules = {name.removeprefix("edgeprune/").removesuffix(".py").replace("/", ".") for name in names}
    rooms = {"worker", "backends", "images.heads"}
    one_by_one = {name for name in modules if not name.startswith(tuple(f"{room}." for room in rooms))}
    assert one_by_one == {*TRAVELS} - rooms
    assert {"backends.onnxruntime", "backends.ncnn", "worker.benchmark", "worker.scenarios.block"} <= modules


def test_the_worker_on_the_device_is_the_one_that_was_pushed(runner: RemoteRunner) -> None:
    code = "import edgeprune.worker.benchmark as worker; print(worker.__file__)"
    file = runner.run((sys.executable, "-c", code), 60).stdout
    assert file.startswith(f"{runner.root}/work-") and "edgeprune.zip/" in file
