"""Environment variables by name: those that a result tells, and those that a row may be run with.

Both are lists of names, never of beginnings: `OPENVINO_TOKEN` begins like a setting and is a secret.
Standard library only: it travels to the device.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgeprune.core.redaction import without_password

TUNING = (
    # OpenMP: its own, LLVM's and Intel's, GNU's
    "OMP_DYNAMIC",
    "OMP_MAX_ACTIVE_LEVELS",
    "OMP_NESTED",
    "OMP_NUM_THREADS",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "OMP_SCHEDULE",
    "OMP_STACKSIZE",
    "OMP_THREAD_LIMIT",
    "OMP_WAIT_POLICY",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "KMP_HW_SUBSET",
    "KMP_LIBRARY",
    "KMP_STACKSIZE",
    "KMP_TOPOLOGY_METHOD",
    "GOMP_CPU_AFFINITY",
    "GOMP_SPINCOUNT",
    "GOMP_STACKSIZE",
    # matrix libraries
    "BLIS_NUM_THREADS",
    "MKL_CBWR",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "MKL_THREADING_LAYER",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    # oneDNN, which OpenVINO and a provider of ONNX Runtime compute with, under its new and its old name
    "ONEDNN_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
    "ONEDNN_VERBOSE",
    "DNNL_CPU_ISA_HINTS",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "DNNL_PRIMITIVE_CACHE_CAPACITY",
    "DNNL_VERBOSE",
    # ONNX Runtime
    "ORT_DISABLE_FLASH_ATTENTION",
    "ORT_MLAS_QKGEMM_S8_APPROX_VNNI",
    "ORT_TENSORRT_CUDA_GRAPH_ENABLE",
    "ORT_TENSORRT_DLA_CORE",
    "ORT_TENSORRT_DLA_ENABLE",
    "ORT_TENSORRT_ENGINE_CACHE_ENABLE",
    "ORT_TENSORRT_FP16_ENABLE",
    "ORT_TENSORRT_INT8_ENABLE",
    "ORT_TENSORRT_MAX_WORKSPACE_SIZE",
    "ORT_USE_MLAS_Q4_GEMM_MOE",
    # OpenVINO and TBB
    "OPENVINO_LOG_LEVEL",
    "TBB_MALLOC_SET_HUGE_SIZE_THRESHOLD",
    "TBB_MALLOC_USE_HUGE_PAGES",
    # CUDA and TensorRT
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_CACHE_DISABLE",
    "CUDA_CACHE_MAXSIZE",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_DEVICE_ORDER",
    "CUDA_FORCE_PTX_JIT",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING",
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_TF32_OVERRIDE",
    # the C library's allocator
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
)
"""How a runtime computes. None names a file, a program or a host: a row of anyone's may be run with them."""
TOLD = (
    *TUNING,
    "CUDA_CACHE_PATH",
    "GLIBC_TUNABLES",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "MALLOC_CONF",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
)
"""What a result tells of the environment that it was measured in."""
_VALUE = re.compile(r"[\w.,:;=+*@ (){}\[\]-]{0,200}")


def told_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a result tells, sorted by name, without passwords."""
    return {name: without_password(environment[name]) for name in sorted(TOLD) if name in environment}


def require_tuning(variables: Mapping[str, str]) -> dict[str, str]:
    """Return variables that a row may be run with.

    Raises:
        ValueError: a name is not in `TUNING`, or a value is more than a word: a path, or a line of text.
    """
    for name, value in variables.items():
        if name not in TUNING:
            raise ValueError(
                f"{name!r} is not a variable that a row may be run with, such as ONEDNN_MAX_CPU_ISA; "
                "set it for the whole command instead"
            )
        if not _VALUE.fullmatch(value):
            raise ValueError(f"{name}: its value is not one setting in letters, digits and , . : = + -")
    return dict(variables)
