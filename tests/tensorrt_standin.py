"""Puts a stand-in for TensorRT and for CUDA's runtime onto the device of the tests; it is neither of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeprune.core.resources import find_bundled
from sshd import Device

COMPILER = shutil.which("cc")
CUDART = """
#include <stdlib.h>
#include <string.h>
#include <time.h>
typedef void *P;
static double now(void) {
  struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}
int cudaGetDeviceCount(int *n) { *n = getenv("STANDIN_NO_GPU") ? 0 : 1; return *n ? 0 : 100; }
int cudaGetDeviceProperties(P p, int d) { strcpy(p, "Stand-in Orin"); return d; }
int cudaDeviceGetAttribute(int *v, int a, int d) { *v = a == 18 ? 1 : a == 75 ? 8 : 7; return d; }
int cudaMemGetInfo(size_t *f, size_t *w) { *f = 3u << 30; *w = 7ul << 30; return 0; }
int cudaMalloc(P *p, size_t n) { *p = malloc(n); return 0; }
int cudaFree(P p) { free(p); return 0; }
int cudaMallocHost(P *p, size_t n) { *p = malloc(n); return 0; }
int cudaFreeHost(P p) { free(p); return 0; }
int cudaMemcpyAsync(P t, P s, size_t n, int k, P q) {
  if (k < 1 || k > 2 || !q) return 1;
  memcpy(t, s, n); return 0;
}
int cudaStreamCreate(P *p) { *p = malloc(1); return 0; }
int cudaStreamSynchronize(P p) { return p ? 0 : 1; }
int cudaEventCreate(P *p) { *p = malloc(sizeof(double)); return 0; }
int cudaEventRecord(P p, P q) { *(double *)p = now(); return q ? 0 : 1; }
int cudaEventElapsedTime(float *ms, P a, P b) { *ms = *(double *)b - *(double *)a; return 0; }
int cudaEventDestroy(P p) { free(p); return 0; }
const char *cudaGetErrorString(int s) { return s == 1 ? "invalid argument" : "an error of the stand-in"; }
"""
TRTEXEC = r"""#!/bin/sh
# A stand-in for trtexec, for tests only: it notes its options and copies the graph.
echo '&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec' "$@"
for option; do case "$option" in
  --onnx=*) model="${option#*=}";;
  --saveEngine=*) engine="${option#*=}";;
  --timingCacheFile=*) timings="${option#*=}"; echo timed > "$timings";;
esac; done
[ -z "$model" ] && exit 0
echo "$@" >> "$(dirname "$0")/trtexec.calls"
if grep -q 'refuse me' "$model"; then echo '[11/29/2026-18:00:00] [E] the stand-in refuses'; exit 1; fi
cp "$model" "$engine"
"""


@dataclass
class Standin:
    """A device that has the stand-in: its folder, and a target for it."""

    device: Device
    folder: Path
    target: Path

    def calls(self) -> list[dict[str, Any]]:
        """Return what each engine was built with, in order."""
        log = self.folder / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def settings(self, **changes: Any) -> None:
        """Make it another TensorRT, or another board."""
        file = self.folder / "standin.json"
        told = json.loads(file.read_text()) | changes
        file.write_text(json.dumps(told))
        for old in self.folder.glob("tensorrt-*.dist-info"):
            shutil.rmtree(old)
        info = self.folder / f"tensorrt-{told['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt\nVersion: {told['version']}\n")
        (info / "RECORD").write_text("tensorrt.py,,\n")

    def runs(self, before: str = "") -> None:
        """Let the device's `python3` find the stand-in, after a piece of shell script."""
        path = f'PYTHONPATH="{self.folder}:$PYTHONPATH" LD_LIBRARY_PATH="{self.folder}"'
        self.device.python_is(f'{before}\n{path} exec "{sys.executable}" "$@"')

    def target_with(self, name: str, **changes: Any) -> Path:
        """Return a target like that of a Jetson, of this machine's architecture."""
        told = yaml.safe_load((find_bundled("targets") / "jetson.yaml").read_text())
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(told | {"arch": ["x86_64", "aarch64"]} | changes))
        return path


def write_standin(folder: Path) -> Path:
    """Write the stand-ins into a folder that Python and the loader are to look into, and return it."""
    if COMPILER is None:
        pytest.skip("no C compiler here for the stand-in of CUDA's runtime: apt-get install gcc")
    folder.mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("tensorrt_standin_module.py"), folder / "tensorrt.py")
    (folder / "cudart.c").write_text(CUDART)
    library = str(folder / "libcudart.so.13")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-w", "-o", library, folder / "cudart.c"], check=True)
    settings = {"version": "10.7.0", "dla": 0, "gpu": "Stand-in Orin", "refuse": ""}
    settings |= {"killed": False, "wrong": False}
    (folder / "standin.json").write_text(json.dumps(settings))
    return folder


def install(device: Device, folder: Path) -> Standin:
    """Return a device with TensorRT 10.7 of the stand-in, on a board without DLA."""
    standin = Standin(device, write_standin(folder), folder)
    standin.settings()
    standin.runs()
    standin.target = standin.target_with("standin-orin")
    return standin


def put_trtexec(device: Device, printed: str = "100300") -> Path:
    """Put the stand-in of trtexec onto the device's PATH; return where it notes its options.

    Args:
        printed: its version, as trtexec prints it.
    """
    program = device.folder / "bin" / "trtexec"
    program.write_text(TRTEXEC.replace("100300", printed))
    program.chmod(0o755)
    return program.with_name("trtexec.calls")
