"""How a command ends that is told to end, killed, or has nobody to write to: by one line, leaving nothing."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeprune.core.scratch import PREFIX, private_temporary_folder
from hostile_networks import write_endless

COMMAND = (sys.executable, "-m", "edgeprune")


@contextmanager
def _running(args: list[str], temporary: Path, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command until the block is left."""
    process = subprocess.Popen(
        [*COMMAND, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=os.environ | {"TMPDIR": str(temporary)},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _worker_below(folder: Path) -> int:
    """Wait until a worker has its working folder below a folder; return its process number."""
    while True:
        for place in Path("/proc").glob("[0-9]*/cwd"):
            try:
                here = place.readlink()
            except OSError:  # it has ended, or is not ours
                continue
            if folder in here.parents:
                return int(place.parent.name)


def _ends(pid: int) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(handle):
        return bool(select.select([handle], [], [], 30)[0])


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Return a folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_ends_the_workers_and_leaves_no_file(
    temporary: Path, tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    engine = write_endless(tmp_path / "endless.onnx")
    with _running(["bench", str(engine), "--out", str(tmp_path / "out")], temporary, tmp_path) as process:
        worker = _worker_below(temporary)
        process.send_signal(signum)
        stdout, stderr = process.communicate(timeout=60)
    how = "interrupted" if signum is signal.SIGINT else f"ended by {signum.name}"
    assert (process.returncode, stdout, stderr) == (code, "", f"edgeprune: {how}\n")
    assert _ends(worker)
    assert list(temporary.iterdir()) == []


def test_two_signals_at_once_end_it_as_one_does(temporary: Path, tmp_path: Path) -> None:
    engine = write_endless(tmp_path / "endless.onnx")
    with _running(["bench", str(engine)], temporary, tmp_path) as process:
        _worker_below(temporary)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)  # as `timeout` does
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (143, "edgeprune: ended by SIGTERM\n")
    assert list(temporary.iterdir()) == []


def test_what_a_killed_run_left_is_removed_by_the_next_and_its_worker_has_ended(
    temporary: Path, tmp_path: Path
) -> None:
    engine = write_endless(tmp_path / "endless.onnx")
    with _running(["bench", str(engine)], temporary, tmp_path) as process:
        worker = _worker_below(temporary)
        process.kill()
        process.communicate(timeout=60)
    (left,) = temporary.iterdir()
    assert left.name.startswith(f"{PREFIX}{process.pid}-")
    assert _ends(worker)  # nobody would take its answer
    foreign = temporary / "edgeprune-of-mine"
    foreign.mkdir()
    with _running(["targets"], temporary, tmp_path) as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert list(temporary.iterdir()) == [foreign]


def test_the_folder_of_a_run_that_goes_on_is_left_alone(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    link = temporary / f"{PREFIX}1-link"
    link.symlink_to(tmp_path)
    with private_temporary_folder():
        (own,) = (place for place in temporary.iterdir() if place != link)
        with _running(["targets"], temporary, tmp_path) as process:
            process.communicate(timeout=60)
        assert process.returncode == 0
        assert own.is_dir() and link.is_symlink()
    assert not own.exists() and tmp_path.is_dir()


def _said(args: list[str], cwd: Path, **more: object) -> subprocess.CompletedProcess[str]:
    options: dict[str, object] = {"capture_output": True, "text": True} | more
    return subprocess.run([*COMMAND, *args], cwd=cwd, check=False, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


def _shell(text: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell in which $E is the command."""
    command = ["bash", "-o", "pipefail", "-c", text]
    env = os.environ | {"E": " ".join(COMMAND)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$E targets >&-", 0),
        ("$E targets 2>&-", 0),
        ("$E targets <&- >&- 2>&-", 0),
        ("$E bench missing 2>&-", 3),
        ("$E targets > /dev/full", 3),
        ("$E --version > /dev/full", 3),
        ("$E bench missing 2> /dev/full", 3),
        ("$E targets | :", 141),
        ("$E targets | head -n 1", 0),
    ],
)
def test_streams_that_are_closed_or_full_change_no_exit_code(line: str, code: int, tmp_path: Path) -> None:
    done = _shell(line, tmp_path)
    assert done.returncode == code or (line.endswith("head -n 1") and done.returncode == 141)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_a_library_writes_into_no_file_for_want_of_a_stream(tmp_path: Path, convnet: Path) -> None:
    out = tmp_path / "out"
    code = "import os; from edgeprune.cli.ending import open_closed_streams as f; f(); h = open('file', 'w')"
    done = _shell(f"{sys.executable} -c \"{code}; os.write(2, b'noise'); h.close()\" 2>&-", tmp_path)
    assert done.returncode == 0 and (tmp_path / "file").read_text() == "" and not out.exists()


def test_a_working_folder_that_was_removed_is_one_line(tmp_path: Path) -> None:
    done = _shell("mkdir gone && cd gone && rmdir ../gone && $E targets", tmp_path)
    assert done.returncode == 3
    assert done.stderr == (
        "edgeprune: the working folder cannot be told: No such file or directory: change to another\n"
    )


@pytest.mark.parametrize("blocks", [0, 8, 2000])
def test_a_limit_of_file_sizes_is_one_line(tmp_path: Path, convnet: Path, blocks: int) -> None:
    done = _shell(f"ulimit -f {blocks}; $E bench {convnet} --seconds 0.05 --out out", tmp_path)
    assert done.returncode in (3, 4) and len(done.stderr.splitlines()) == 1
    assert "ulimit -f" in done.stderr or "File too large" in done.stderr


@pytest.mark.parametrize(
    ("limit", "said"),
    [("n 6", "too many open files (ulimit -n)"), ("v 300000", "the memory is full, or a limit")],
)
def test_a_limit_of_files_or_memory_is_one_line(tmp_path: Path, convnet: Path, limit: str, said: str) -> None:
    done = _shell(f"ulimit -{limit}; $E bench {convnet} --seconds 0.05", tmp_path)
    assert done.returncode == 3 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


SHADOWS = ("statistics", "random", "platform", "json", "torch", "numpy", "click", "typing_extensions")


def test_modules_of_the_working_folder_are_not_imported(tmp_path: Path, convnet: Path) -> None:
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\nraise SystemExit('ran')\n")
    for args in (["targets"], ["doctor", "--json"], ["bench", str(convnet), "--seconds", "0.05", "--json"]):
        done = _said(args, tmp_path)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


def test_modules_of_pythonpath_come_behind_pythons_own(tmp_path: Path, convnet: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "statistics.py").write_text("raise SystemExit('ran')\n")
    env = os.environ | {"PYTHONPATH": str(folder)}
    done = _said(["bench", str(convnet), "--seconds", "0.05", "--json"], tmp_path, env=env)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_a_file_of_pythonpath_that_hides_a_package_is_one_line(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / f"{name}.py").write_text("raise SystemExit('ran')\n")
    done = _said(["bench", "any"], tmp_path, env=os.environ | {"PYTHONPATH": str(folder)})
    assert done.returncode == 3
    assert done.stderr.startswith(f"edgeprune: PYTHONPATH: {folder}/{name}.py would be imported in place of ")
    assert len(done.stderr.splitlines()) == 1
