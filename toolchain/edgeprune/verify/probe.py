"""Prove that a runtime works here: compile and run a one-layer model in it, and check what it computes.

``python -m edgeprune.verify.probe RUNTIME`` does it in the foreground.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from edgeprune.backends import get_backend, options_for, providers
from edgeprune.config.targets import Precision, shipped_profiles
from edgeprune.converters.environments import GET, SCRIPTS, is_installed
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import EdgepruneError, RuntimeMissingError
from edgeprune.core.processes import own_python

NOT_INSTALLED = "not installed"
MODEL = SCRIPTS / "probe.onnx"
"""A 1x1 convolution (8, 3) with ReLU over images of (1, 3, 32, 32); a file, so `onnx` may be missing."""
TIMEOUT_S = 120.0


def probe_apart(name: str) -> tuple[bool, str]:
    """Run `probe` in a fresh process: a runtime built for another CPU dies by SIGILL, not by an exception.

    Returns:
        Whether the runtime works, and one line saying what ran or what is wrong.
    """
    with tempfile.TemporaryDirectory() as folder:  # the working folder too: runtimes write into it
        args = own_python("edgeprune.verify.probe", name)
        try:
            done = subprocess.run(
                args, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder, check=False
            )
        except subprocess.TimeoutExpired:
            return False, f"gave no answer in {TIMEOUT_S:.0f} s"
    if done.returncode < 0:
        why = {signal.SIGILL: ": it was built for another CPU", signal.SIGKILL: ": out of memory?"}
        death = signal.Signals(-done.returncode)
        return False, f"killed by {death.name}{why.get(death, '')}"
    output = done.stdout if done.returncode == 0 else done.stderr
    answer = (output.strip().splitlines() or ["crashed without a message"])[-1]
    return done.returncode == 0 and answer.startswith("ok "), answer.removeprefix("ok ")


def probe(name: str, folder: Path) -> str:
    """Compile a one-layer model in the runtime `name`, run it, and compare its output with numpy's.

    Returns:
        One line saying what ran.

    Raises:
        EdgepruneError: the runtime is missing, refuses the model, or computes something else.
    """
    import numpy as np

    try:
        backend = get_backend(name)
        version = backend.version()
    except ImportError as exc:
        raise RuntimeMissingError(f"{NOT_INSTALLED}: {exc}") from exc
    if version is None:
        raise RuntimeMissingError(NOT_INSTALLED)
    precision, options = _asked_for(name)
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 3), dtype=np.float32)
    images = rng.random((1, 3, 32, 32), dtype=np.float32)
    if backend.PROBE:  # the same model: converters take a minute and may not be there
        engine, did = SCRIPTS / backend.PROBE, "ran"
    elif backend.SOURCE != "onnx":
        return version
    else:
        model = Artifact.of(MODEL, "onnx", "fp32")
        engine, did = backend.compile(model, precision, options, folder).path, "compiled and ran"
    (output,) = backend.load(engine, precision, 1, options)(images)
    expected = np.maximum(np.einsum("oi,nihw->nohw", weight, images), 0)
    error = float(np.linalg.norm(output - expected) / np.linalg.norm(expected))
    # fp16 and bf16 keep 11 and 8 bits of mantissa; int8 rounds image, weights and output to 8 bits each.
    if not error < {"fp32": 1e-4, "int8": 3e-2}.get(precision, 1e-2):
        raise EdgepruneError(f"{version} runs, but computes wrong results: relative error {error:.1e}")
    found = f"; runs on {', '.join(providers(name))}" if backend.providers else ""
    converter = (
        "" if backend.CONVERTER is None or is_installed(name) else f"; no converter: {GET.format(name)}"
    )
    article = "an" if precision == "int8" else "a"
    return f"{version}; {did} {article} {precision} model{found}{converter}"


def _asked_for(backend: str) -> tuple[Precision, dict[str, str]]:
    """Return a precision and the options of a shipped target of a runtime; plain fp32 where there is none."""
    fit = [profile for profile in shipped_profiles() if profile.backend == backend]
    if not fit:
        return "fp32", {}
    nearest = max(fit, key=lambda found: found.runs_here and not found.provider)
    return nearest.precisions[0], options_for(nearest, nearest.precisions[0])


def _main(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            print("ok", probe(name, Path(folder)))
        except EdgepruneError as exc:
            print(exc)


if __name__ == "__main__":
    _main(sys.argv[1])
