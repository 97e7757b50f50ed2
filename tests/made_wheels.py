"""A wheel that is not the one whose sha256 is pinned."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

from edgeprune.runners.sysroot import NUMPY


def write_other_numpy(folder: Path) -> Path:
    """Write a wheel of the name and version of the numpy that is pinned for aarch64; return its folder."""
    (pin,) = NUMPY["aarch64"]
    stem = pin.replace("==", "-")
    about = "Metadata-Version: 2.1\nName: {}\nVersion: {}\n".format(*pin.split("=="))
    with ZipFile(folder / f"{stem}-cp311-cp311-manylinux_2_17_aarch64.whl", "w") as wheel:
        wheel.writestr("numpy.py", "hostile = True")
        wheel.writestr(f"{stem}.dist-info/METADATA", about)
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
    return folder
