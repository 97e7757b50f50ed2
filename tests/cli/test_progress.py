"""What a long command says: the time left of the stage that runs, on a clock of the test's own."""

from __future__ import annotations

import io
import sys

import pytest

from edgeprune.cli.progress import Notify, stage_progress


class Clock:
    """Seconds that pass when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def train(notify: Notify, clock: Clock, batches: int, seconds: float) -> None:
    """Report as a fine-tune of one epoch does: after every batch."""
    for batch in range(1, batches + 1):
        clock.now += seconds / batches
        notify("finetuned", batch / batches, f"epoch 1/1, batch {batch}")


def test_the_second_targets_training_counts_from_its_own_first_batch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    with stage_progress(clock=clock) as notify:
        train(notify, clock, 40, 800)
        clock.now += 120  # it is exported, compiled, measured
        capsys.readouterr()
        train(notify, clock, 40, 800)
    lines = capsys.readouterr().err.splitlines()
    assert "left" not in lines[0]
    assert lines[1] == "finetuned: 5% epoch 1/1, batch 2, 13 min left"  # .95 * 800 s
    left = [line.rsplit(", ", 1)[1] for line in lines[1:-1]]
    assert len(left) == 38 and left[-1] == "20 s left"


def test_what_the_work_prints_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    with stage_progress():
        print("a forward pass of the user's")
    print("the result")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("the result\n", "a forward pass of the user's\n")


def test_a_terminal_shows_the_time_left_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    clock = Clock()
    with stage_progress(clock=clock) as notify:
        train(notify, clock, 4, 400)
        clock.now += 120
        notify("finetuned", 0.25, "epoch 1/1")
        clock.now += 3000
        notify("finetuned", 0.5, "epoch 1/1")
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "1 h 40 min left" in shown and " d " not in shown
