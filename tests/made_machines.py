"""A machine as the doctor describes one."""

from __future__ import annotations

from edgeprune.verify import doctor

MACHINE = doctor.Machine(
    python="3.11", system="Linux", architecture="x86_64", cpu="a CPU", features=("avx2",), cores=4,
    cores_usable=2, memory_mb=8000, governor="powersave", gpus=(),
)  # fmt: skip
