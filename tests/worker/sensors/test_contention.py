"""What others took: read query by query where the kernel keeps an account, and not made up elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.worker.sensors.contention import read_busy_s, waiting


def account(root: Path, **schedstat: str) -> Path:
    """Write what the kernel says of each thread of this process: time run, time waited (ns), turns."""
    for thread, text in schedstat.items():
        path = root / "proc/self/task" / thread.strip("_") / "schedstat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_waits_of_all_threads_are_added_up_and_read_anew(tmp_path: Path) -> None:
    root = account(tmp_path, _1="5000 700 3\n", _2="100 50 1\n")
    with waiting(root) as waited_ns:
        assert waited_ns and waited_ns() == 750
        account(root, _1="6000 900 4\n")
        assert waited_ns() == 950


@pytest.mark.parametrize("said", [{}, {"_1": "0 0 0\n"}, {"_1": "\n"}])
def test_a_kernel_without_the_account_tells_nothing(tmp_path: Path, said: dict[str, str]) -> None:
    with waiting(account(tmp_path, **said)) as waited_ns:
        assert waited_ns is None


def test_this_machine_s_own_account_never_runs_backwards() -> None:
    with waiting() as waited_ns:
        if waited_ns:
            assert 0 <= waited_ns() <= waited_ns()


def test_busy_is_all_but_idle_and_waiting_for_disks_of_the_cores_asked_for(tmp_path: Path) -> None:
    assert read_busy_s([0], tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(
        "cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 100 20 30 9000 800 4 5 6 0 0\ncpu1 1000 0 0 0 0 0 0 0 0 0\n"
    )
    assert read_busy_s([0], tmp_path) == pytest.approx(1.65)
    assert read_busy_s([0, 1], tmp_path) == pytest.approx(11.65)
