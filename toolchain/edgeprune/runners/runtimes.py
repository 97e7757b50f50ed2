"""How a runtime gets onto a device."""

from __future__ import annotations

from collections.abc import Callable

from edgeprune.core.backend import get_backend
from edgeprune.core.errors import DeviceError
from edgeprune.runners.remote import RemoteRunner

INSTALL_TIMEOUT_S = 3600.0
LOAD_TIMEOUT_S = 120.0
OLDEST = (3, 10)
SPARE = 64 << 20  # bytes; an environment alone takes some 20 MB
_ASK_WHY = (
    "import importlib.util, shutil, sys; "
    "print(bool(importlib.util.find_spec('ensurepip')), shutil.disk_usage(sys.argv[1]).free)"
)


def install(backend: str, runner: RemoteRunner, say: Callable[[str], None]) -> str:
    """Make the virtual environment ``venv`` in the device's own folder, with numpy and a runtime.

    It sees the packages of the device's system as well: what is there (numpy, TensorRT) is not fetched again.
    Run again, it adds to what is there.

    Returns:
        Its interpreter.

    Raises:
        DeviceError: Python there is too old or has no venv module, pip found no package for the device, or
            what it installed does not load there.
    """
    if runner.version < OLDEST:
        raise DeviceError(
            f"{runner.name}: its python3 is {'.'.join(map(str, runner.version))}: install Python "
            f"{'.'.join(map(str, OLDEST))} or newer there"
        )
    runtime, venv = get_backend(backend), f"{runner.root}/venv"
    python, wanted = f"{venv}/bin/python", ("numpy", *runtime.PIP)
    modules = ("numpy", runtime.MODULE) if runtime.MODULE else ("numpy",)
    say(f"virtual environment at {venv}")
    try:
        runner.run(("python3", "-m", "venv", "--system-site-packages", venv), INSTALL_TIMEOUT_S)
    except DeviceError as exc:
        raise DeviceError(f"{exc}{_why_no_venv(runner)}") from exc
    say(", ".join(wanted))
    pip = (python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check")
    runner.run((*pip, *wanted), INSTALL_TIMEOUT_S, say)
    try:
        runner.run((python, "-c", f"import {', '.join(modules)}"), LOAD_TIMEOUT_S)
    except DeviceError as exc:
        there = f"pip has installed {', '.join(wanted)} there, but {modules[-1]} does not load"
        there += "" if runtime.PIP else f", which pip does not bring: {runtime.HOW_TO_GET}"
        raise DeviceError(f"{exc}; {there}") from exc
    return python


def _why_no_venv(runner: RemoteRunner) -> str:
    """Say why no virtual environment could be made, as far as the device tells."""
    try:
        has_it, told = runner.run(("python3", "-c", _ASK_WHY, runner.root), LOAD_TIMEOUT_S).stdout.split()
        free = int(told)
    except (DeviceError, ValueError):
        return ""
    if has_it == "False":
        return "; on Debian what it lacks is in the package python3-venv"
    if free < SPARE:
        room = f"{free / 1e6:.0f} MB are free in {runner.root}"
        return f"; {room}: make room, or name another folder in the address"
    return ""
