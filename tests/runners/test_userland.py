"""Which Python a device starts, and with what of its environment: scripts, run by this machine's shell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from edgeprune.core.errors import ConfigError
from edgeprune.runners.userland import FOLDER, MARK, START, VERSION, require_plain, start_line, start_script

LOADER = "ld-test.so.1"
ARGUMENTS = "-c 'print(1)'"


def lay(root: Path, version: str = VERSION) -> Path:
    """Put a userland there whose Python tells how it was started."""
    home = root / FOLDER
    home.mkdir(parents=True)
    (home / MARK).write_text(f"{version}\n")
    (home / START).write_text('#!/bin/sh\necho "the userland\'s: $@"\n')
    (home / START).chmod(0o755)
    return home


def start(root: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the line that starts Python, on a device whose own is an `echo`."""
    own = root / "own" / "python3"
    own.parent.mkdir(exist_ok=True)
    own.write_text('#!/bin/sh\necho "its own: $@"\n')
    own.chmod(0o755)
    line = start_line(f"'{root}'", f"PATH='{own.parent}'; export PATH", ARGUMENTS)
    return subprocess.run(
        ["sh", "-c", line], env=os.environ | variables, capture_output=True, text=True, check=False
    )


def test_a_userland_is_started_where_there_is_one(tmp_path: Path) -> None:
    assert start(tmp_path).stdout == "its own: -c print(1)\n"
    home = lay(tmp_path)
    assert start(tmp_path).stdout == "the userland's: -c print(1)\n"
    (home / MARK).unlink()  # its setup broke off
    assert start(tmp_path).stdout == "its own: -c print(1)\n"


def test_a_userland_of_another_version_is_not_started(tmp_path: Path) -> None:
    lay(tmp_path, "0")
    done = start(tmp_path)
    assert (done.returncode, done.stdout) == (96, "")
    assert done.stderr == f"edgeprune-userland: it is of version 0, this edgeprune has version {VERSION}\n"


def test_a_userland_of_another_user_is_not_started(tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("only root can give a folder to another user")
    os.chown(lay(tmp_path), 12345, -1)
    assert start(tmp_path).stdout == "the userland's: -c print(1)\n"  # root may use anyone's
    tools = tmp_path / "own"
    (tools / "id").write_text("#!/bin/sh\necho 2000\n")
    (tools / "id").chmod(0o755)
    done = start(tmp_path, PATH=f"{tools}:{os.environ['PATH']}")
    assert done.returncode == 96 and "it belongs to another user, name another folder" in done.stderr


def test_python_gets_its_arguments_and_none_of_the_variables_that_would_mislead_it(tmp_path: Path) -> None:
    system = tmp_path / "my disk" / "debian-1"
    (system / "lib").mkdir(parents=True)
    loader = system / "lib" / LOADER
    loader.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@"; echo "<$LD_PRELOAD$LD_LIBRARY_PATH$PYTHONHOME>"; exit 7\n'
    )
    loader.chmod(0o755)
    script = tmp_path / "python3"
    script.write_text(start_script("/bin/sh", str(system), LOADER, "3.11"))
    script.chmod(0o755)
    misleading = {"LD_LIBRARY_PATH": "/lib", "PYTHONHOME": "/usr"}
    words = ["-c", "print('a  b')\n", "", "$HOME"]
    done = subprocess.run(
        [script, *words], env=os.environ | misleading, capture_output=True, text=True, check=False
    )
    started = ["--inhibit-cache", "--library-path", f"{system}/lib", "--argv0", f"{system}/usr/bin/python3"]
    shown = "\n".join([*started, f"{system}/usr/bin/python3.11", *words])
    assert (done.returncode, done.stdout, done.stderr) == (7, f"{shown}\n<>\n", "")


@pytest.mark.parametrize("folder", ["/a$b", "/a;b", '/a"b', "/a\nb", "/a`b", "/a:b"])
def test_a_folder_that_a_script_would_take_apart_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="name a folder of plain characters in the address"):
        require_plain(folder, "adb://x")


@pytest.mark.parametrize("folder", ["/data/local/tmp/edgeprune", "/home/me/my disk", "/höhe"])
def test_a_folder_of_plain_characters_is_taken(folder: str) -> None:
    require_plain(folder, "adb://x")
