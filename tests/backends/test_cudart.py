"""The binding of CUDA's runtime: to NVIDIA's own library without a GPU, and to a stand-in with one."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeprune.backends.cudart import Cuda
from tensorrt_standin import COMPILER, CUDART

ASK = """
import json
from edgeprune.backends.cudart import load_cuda
from edgeprune.core.errors import RuntimeMissingError
try:
    cuda = load_cuda('it: ')
except RuntimeMissingError as exc:
    print(json.dumps([exc.exit_code, str(exc)]))
else:
    print(json.dumps([cuda.name, cuda.capability, cuda.is_integrated, cuda.free_bytes()]))
"""


def asked(**variables: str) -> list[object]:
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, check=True, env=os.environ | variables
    )
    found: list[object] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None:
        pytest.skip("no C compiler here: apt-get install gcc")
    folder = tmp_path_factory.mktemp("cudart")
    (folder / "cudart.c").write_text(CUDART)
    path = folder / "libcudart.so.13"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-w", "-o", path, folder / "cudart.c"], check=True)
    return path


@pytest.mark.skipif(find_spec("nvidia") is None, reason="NVIDIA's CUDA runtime is not installed here")
def test_nvidias_own_library_without_a_gpu_is_one_line() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here")
    code, said = asked()
    assert code == 5 and str(said).startswith("it: no NVIDIA GPU is found here")


def test_a_gpu_tells_what_it_is(library: Path) -> None:
    assert asked(LD_LIBRARY_PATH=str(library.parent)) == ["Stand-in Orin", "8.7", True, 3 << 30]
    code, said = asked(LD_LIBRARY_PATH=str(library.parent), STANDIN_NO_GPU="1")
    assert code == 5 and "no NVIDIA GPU" in str(said)


def test_memory_copies_and_events(library: Path) -> None:
    cuda = Cuda(ctypes.CDLL(str(library)))
    device, host, stream = cuda.allocate(8), cuda.allocate_host(8), cuda.stream()
    ctypes.memmove(host, b"12345678", 8)
    before = cuda.event(stream)
    cuda.copy(device, host, 8, 1, stream)
    ctypes.memset(host, 0, 8)
    cuda.copy(host, device, 8, 2, stream)
    after = cuda.event(stream)
    cuda.wait(stream)
    assert ctypes.string_at(host, 8) == b"12345678" and cuda.milliseconds(before, after) >= 0
    cuda.drop(before)
    cuda.free(device, host)
    with pytest.raises(Exception, match=r"CUDA failed: cudaMemcpyAsync: invalid argument \(1\)"):
        cuda.copy(device, host, 8, 9, stream)
