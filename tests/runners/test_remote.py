"""What every remote runner owes, over ssh and over adb: files as they are, whole output, and nothing left."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from adbd import AdbDevice
from edgeprune.core.artifact import digest
from edgeprune.core.errors import ConfigError, DeviceError
from edgeprune.runners.devices import remote_runner_for
from edgeprune.runners.remote import RemoteRunner
from sshd import Device

Place = Device | AdbDevice


def python(runner: RemoteRunner, code: str, timeout: float = 60.0, **more: Any) -> str:
    return runner.run((sys.executable, "-c", code), timeout, **more).stdout


def gone(pid: int) -> None:
    try:
        psutil.Process(pid).wait(30)
    except psutil.NoSuchProcess:
        return


# Files


def test_files_and_folders_arrive_under_their_own_names(
    place: Place, runner: RemoteRunner, hostile: Path, tmp_path: Path
) -> None:
    (hostile / "-rf").write_bytes(b"dash")
    (hostile / "empty").touch()
    (hostile / "sub dir").mkdir()
    (hostile / "sub dir" / "a\nb'c\"d.bin").write_bytes(bytes(range(256)))
    (hostile / os.fsdecode(b"not-utf8-\xff")).write_bytes(b"bytes")
    remote = runner.push(hostile)
    assert remote.endswith(f"/{hostile.name}")
    arrived = place.here(remote)
    assert (arrived / "-rf").read_bytes() == b"dash" and (arrived / "empty").read_bytes() == b""
    assert (arrived / "sub dir" / "a\nb'c\"d.bin").read_bytes() == bytes(range(256))
    assert (arrived / os.fsdecode(b"not-utf8-\xff")).read_bytes() == b"bytes"
    back = runner.pull(f"{remote}/sub dir/a\nb'c\"d.bin", hostile / "back\n'here'")
    assert back.read_bytes() == bytes(range(256))
    assert not list(tmp_path.rglob("pwned")) and not list(place.cache.rglob("pwned"))


def test_a_file_that_changed_on_the_device_is_sent_again(
    place: Place, runner: RemoteRunner, tmp_path: Path
) -> None:
    file = tmp_path / "weights"
    file.write_text("right")
    pushed = place.here(runner.push(file))
    pushed.chmod(0o644)
    pushed.write_text("wrong")
    assert place.here(runner.push(file)).read_text() == "right"


@pytest.mark.parametrize("left", [b"of another file", bytes(1 << 16)], ids=["shorter", "as long"])
def test_what_an_earlier_push_left_is_not_trusted(
    place: Place, runner: RemoteRunner, tmp_path: Path, left: bytes
) -> None:
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(1 << 16))
    (place.here(runner.root) / "files" / f"{digest(file)}.partial").write_bytes(left)
    assert place.here(runner.push(file)).read_bytes() == file.read_bytes()


def test_a_file_that_does_not_stay_whole_there_is_not_taken_for_pushed(
    runner: RemoteRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "engine"
    file.write_bytes(bytes(1 << 16))
    monkeypatch.setattr(runner, "send", lambda *_: None)
    with pytest.raises(DeviceError, match=r"'engine': it arrived, but is not whole there"):
        runner.push(file)


def test_files_that_are_pushed_together_keep_their_names_apart(
    place: Place, runner: RemoteRunner, tmp_path: Path
) -> None:
    files = [tmp_path / folder / "job.json" for folder in ("first", "second", "large")]
    for file, content in zip(files, (b"1", b"2", bytes(1 << 16)), strict=True):
        file.parent.mkdir()
        file.write_bytes(content)
    remotes = runner.push_all([*files, files[0]])
    assert len(set(remotes)) == 4 and all(remote.endswith("/job.json") for remote in remotes)
    arrived = [place.here(remote).read_bytes() for remote in remotes]
    assert arrived == [b"1", b"2", bytes(1 << 16), b"1"]


def test_a_missing_file_is_named(runner: RemoteRunner, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"/no/such\n'file': No such file or directory$"):
        runner.pull("/no/such\n'file'", tmp_path / "here")
    assert not (tmp_path / "here").exists() and not list(tmp_path.glob(".*"))


# The work folder


def test_the_work_folder_is_removed_even_after_an_error(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    failing = pytest.raises(DeviceError, match="exited with code 3")
    with failing, remote_runner_for(place.address()) as runner:
        pushed = place.here(runner.push(file))
        assert pushed.exists()
        python(runner, "raise SystemExit(3)")
    assert not pushed.parents[1].exists() and pushed.parents[1].name.startswith("work-")


def test_what_nobody_uses_is_removed_after_a_week(place: Place, tmp_path: Path) -> None:
    kept, left = tmp_path / "kept", tmp_path / "left"
    kept.write_text("used again")
    left.write_text("not used again")
    with remote_runner_for(place.address()) as runner:
        runner.push(kept), runner.push(left)
    store = place.cache / "files"
    os.utime(store / digest(left), (0, 0))
    with remote_runner_for(place.address()):
        assert (store / digest(kept)).exists() and not (store / digest(left)).exists()


CLIENT = """
import sys
from edgeprune.runners.devices import remote_runner_for

code = "import os, time; print(os.getcwd(), os.getpid(), flush=True); time.sleep(600)"
with remote_runner_for(sys.argv[1]) as runner:
    runner.run((sys.executable, "-c", code), 600, lambda line: print(line, flush=True))
"""


def test_what_a_client_left_that_was_killed_is_removed_after_a_week(place: Place) -> None:
    command = [sys.executable, "-c", CLIENT, place.address()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        job, pid = client.stdout.readline().split()
        client.kill()
    work = place.here(job).parent
    with remote_runner_for(place.address()):
        assert psutil.pid_exists(int(pid)) and work.exists()  # it might come back
    os.utime(work, (0, 0))
    with remote_runner_for(place.address()):
        gone(int(pid))
        assert not work.exists()


def test_what_else_lies_in_a_folder_that_the_user_names_is_left_alone(place: Place, tmp_path: Path) -> None:
    disk = tmp_path / "my disk"
    own = [disk / "files" / "photo.jpg", disk / "work-projects" / "job-1" / "thesis", disk / "work-list"]
    for file in own:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("years of work")
    for path in disk.rglob("*"):
        os.utime(path, (0, 0))
    with remote_runner_for(place.address(disk)) as runner:
        python(runner, "")
    assert all(file.read_text() == "years of work" for file in own)
    assert {path.name for path in disk.iterdir()} == {"files", "work-projects", "work-list"}
    assert [path.name for path in (disk / "work-projects" / "job-1").iterdir()] == ["thesis"]


def test_two_sessions_do_not_meet(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    with remote_runner_for(place.address()) as one:
        with remote_runner_for(place.address()) as two:
            assert one.push(file) != two.push(file)
        assert place.here(one.push(file)).read_text() == "content"


# Processes


def test_arguments_arrive_as_they_are(runner: RemoteRunner, hostile: Path) -> None:
    words = ["$HOME; ls *", "a\nb", "", "'", '"', "\\", "--", "-n", "é", "$(touch pwned)", hostile.name]
    done = runner.run((sys.executable, "-c", "import sys; print(sys.argv[1:])", *words), 60)
    assert ast.literal_eval(done.stdout) == words


def test_lines_stream_and_output_is_kept(runner: RemoteRunner) -> None:
    lines: list[str] = []
    code = "import sys; print('one'); print('two'); print('noise', file=sys.stderr)"
    done = runner.run((sys.executable, "-c", code), 60, lines.append)
    assert lines == ["one", "two"] and done.stdout == "one\ntwo\n" and done.stderr == "noise\n"
    assert done.returncode == 0


def test_a_run_outlives_its_connection_and_the_result_is_complete(
    place: Place, runner: RemoteRunner, tmp_path: Path
) -> None:
    go, lines = tmp_path / "go", []
    code = f"""
import pathlib, sys, time
print("before", flush=True)
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.01)
for index in range(50000):
    print("line", index)
print("the end", file=sys.stderr)
"""

    def drop(line: str) -> None:
        lines.append(line)
        if line == "before":
            assert place.drop() > 0
            go.touch()

    done = runner.run((sys.executable, "-c", code), 60, drop)
    assert lines == ["before", *(f"line {index}" for index in range(50000))]
    assert done.stdout.splitlines() == lines and done.stderr == "the end\n"


def test_a_crash_names_the_exit_code_and_the_last_line(runner: RemoteRunner) -> None:
    with pytest.raises(DeviceError, match=r"exited with code 1: ValueError: the last word$"):
        python(runner, "import sys; print('early', file=sys.stderr); raise ValueError('the last word')")


def test_a_kill_for_memory_names_the_signal(runner: RemoteRunner) -> None:
    with pytest.raises(DeviceError, match=r"killed by SIGKILL \(out of memory\?\)"):
        python(runner, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")


def test_a_program_that_is_not_there(runner: RemoteRunner) -> None:
    with pytest.raises(DeviceError, match="no-such-program: cannot be started: No such file"):
        runner.run(("no-such-program",), 60)


def test_a_hang_is_stopped_there_with_its_children(runner: RemoteRunner, tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = f"""
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path({str(child)!r}).write_text(str(child.pid))
time.sleep(600)
"""
    with pytest.raises(DeviceError, match="no answer within 3 s, it was stopped"):
        python(runner, code, timeout=3)
    gone(int(child.read_text()))


def test_an_interrupt_leaves_no_process_on_the_device(runner: RemoteRunner) -> None:
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        python(runner, "import os, time; print(os.getpid(), flush=True); time.sleep(600)", on_line=interrupt)
    gone(pids[0])


# What the device's Python says, or does not


@pytest.mark.parametrize("welcome", ['echo "Welcome to {the} board"', r"printf '\033]0;board\007'"])
def test_what_a_login_script_prints_is_passed_over(place: Place, welcome: str) -> None:
    place.python_is(f'{welcome}; echo warning >&2; exec "{sys.executable}" "$@"')
    with remote_runner_for(place.address()) as runner:
        assert python(runner, "print(1)") == "1\n"


def test_no_python_there(place: Place, refusal: Any) -> None:
    place.python_is("echo sh: python3: not found >&2; exit 127")
    brings = f"edgeprune device setup {place.address()} brings one, or install Python 3.10"
    assert f"there is no python3 on the device: {brings}" in refusal(place.address())


def test_a_python_that_cannot_even_read_what_is_asked(place: Place, refusal: Any) -> None:
    older = "import sys; sys.version_info = (3, 6); exec(sys.argv[1])"
    place.python_is(f'shift 3; exec "{sys.executable}" -c "{older}" "$@"')
    brings = f"edgeprune device setup {place.address()} brings one"
    assert refusal(place.address()).startswith(f"its python3 is older than 3.8: {brings}")


def test_a_python_without_the_runtime_names_the_command(place: Place, runner: RemoteRunner) -> None:
    with pytest.raises(DeviceError, match=r"no_such_runtime") as caught:
        runner.python("no_such_runtime")
    command = f"edgeprune device setup {place.address()} --target NAME, one that runs no_such_runtime"
    assert str(caught.value).endswith(command)


def test_an_answer_that_is_none(place: Place, refusal: Any) -> None:
    place.python_is("echo '{\"work\": 1}'; echo 'Illegal instruction' >&2; exit 132")
    assert "no answer from the device: Illegal instruction" in refusal(place.address())


@pytest.mark.parametrize("address", ["ssh://pi@board/mnt/a:b", "ssh://board/:2222", "adb://serial/a:b"])
def test_a_folder_that_python_could_not_import_from_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="name a folder without a colon"):
        remote_runner_for(address)
