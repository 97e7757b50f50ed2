"""A stock Android phone for the tests: an arm64 system without Python, behind the adb daemon of `adbd.py`.

Nothing of this machine is in it. Its root folder has `/system`, `/data`, `/proc`, `/sys` and four devices in
`/dev`; there is no `/tmp`, `/etc`, `/lib` or `/bin`. Its shell is mksh, as Android's, and its tools are a few
of busybox: both are Debian's programs for arm64. qemu stands in for a kernel that runs such programs, known
to that user namespace alone (binfmt_misc). No real phone was there: neither SELinux nor Android's kernel is
imitated.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from adbd import AdbDevice
from edgeprune.runners.debian import unpack_packages

TOOLS = (
    "cat", "chmod", "df", "head", "id", "ln", "ls", "mkdir", "mv", "rm", "rmdir", "sha256sum", "uname", "wc",
)  # fmt: skip
# As `adb shell` gives it, but for HOME, which old versions lack.
ENVIRONMENT = {
    "PATH": "/product/bin:/apex/com.android.runtime/bin:/system/bin:/system/xbin:/vendor/bin",
    "ANDROID_DATA": "/data",
    "ANDROID_ROOT": "/system",
    "HOSTNAME": "phone",
    "SHELL": "/system/bin/sh",
    "TMPDIR": "/data/local/tmp",
    "USER": "shell",
    "QEMU_CPU": "cortex-a76",
}
# The magic number and mask are those of an arm64 program; F opens qemu now, outside of the phone.
_NAMESPACE = r"""
set -e
mount -t tmpfs none "$1"
mkdir "$1/kernel" "$1/root"
mount -t binfmt_misc none "$1/kernel"
zeros='\x00\x00\x00\x00\x00\x00\x00\x00\x00'
magic="\\x7fELF\\x02\\x01\\x01$zeros\\x02\\x00\\xb7\\x00"
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf '%s' ":arm64:M::$magic:$mask:$4:F" > "$1/kernel/register"
cd "$1/root"
mkdir system data proc sys dev
mount --rbind /proc proc
mount --rbind /sys sys
for device in null zero random urandom; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mount --bind "$2" system
mount --bind "$3" data
echo ready
exec chroot . /system/bin/sh -c 'read -r nothing'
"""


def make_system(folder: Path) -> None:
    """Put the shell and the tools into a folder, from Debian's mirror."""
    unpack_packages(("mksh", "busybox-static"), "arm64", folder / "debian", folder / "debs", lambda *_: None)
    programs = folder / "system" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(folder / "debian/usr/lib/aarch64-linux-musl/bin/mksh", programs / "sh")
    shutil.copy(folder / "debian/bin/busybox", programs / "busybox")
    for tool in TOOLS:
        (programs / tool).symlink_to("busybox")


class CannotRunError(Exception):
    """This machine cannot have such a phone."""


@contextlib.contextmanager
def running(system: Path, folder: Path) -> Iterator[AdbDevice]:
    """Start a phone.

    Args:
        system: what `make_system` has filled.
        folder: for its data.

    Raises:
        CannotRunError: no qemu here, or a namespace of that kind is not allowed.
    """
    qemu = shutil.which("qemu-aarch64-static")
    if not (qemu and shutil.which("unshare") and shutil.which("nsenter")):
        raise CannotRunError("qemu-aarch64-static, unshare or nsenter is not here")
    data, place, own = folder / "data", folder / "newroot", folder / "system"
    (data / "local" / "tmp").mkdir(parents=True)
    place.mkdir()
    shutil.copytree(system / "system", own, symlinks=True)
    words = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _NAMESPACE, "sh")
    holder = subprocess.Popen(
        [*words, place, own, data, qemu],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert holder.stdin and holder.stdout and holder.stderr
    with holder.stdin, holder.stdout, holder.stderr:
        try:
            if holder.stdout.readline() != b"ready\n":
                raise CannotRunError(holder.stderr.read().decode())
            device = AdbDevice(data, holder=holder, namespaces=("--user", "--mount"), environment=ENVIRONMENT)
            device.arrive()
            try:
                yield device
            finally:
                device.leave()
        finally:
            holder.kill()
            holder.wait()


def listing(device: AdbDevice) -> set[str]:
    """Return every path of the phone's own storage, and of its system."""
    folders = (device.root, device.root.parent / "system")
    return {
        str(Path(base) / name)
        for top in folders
        for base, dirs, files in os.walk(top)
        for name in dirs + files
    }
