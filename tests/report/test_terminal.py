import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from edgeprune.report.terminal import print_summary


def _printed(summary: Any, width: int = 80) -> str:
    stream = io.StringIO()
    print_summary(summary, Console(file=stream, width=width))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def test_the_summary_looks_like_this(parts: SimpleNamespace, golden: Callable[[str, str], None]) -> None:
    golden("terminal.txt", _printed(parts.summary()))


def test_a_wide_terminal_shows_both_ends_of_an_interval(parts: SimpleNamespace) -> None:
    wide, usual, narrow = (_printed(parts.summary(), width) for width in (100, 80, 76))
    assert "0.0070 [−.002, .019]" in wide and "[ ]:" in wide
    assert "0.0070 ±.012" in usual and "±:" in usual
    assert "±" not in narrow and "0.0070    78" in narrow and "original fp32  " in narrow


def test_a_missed_budget_marks_no_row_and_is_left_to_the_error(
    parts: SimpleNamespace,
) -> None:
    targets = {
        name: target.model_copy(update={"chosen": None}) for name, target in parts.summary().targets.items()
    }
    text = _printed(
        parts.summary(
            targets=targets, chosen=None, verdict="Budget not met.", nearest_miss="row 10 misses 5 ms."
        )
    )
    assert text.rstrip().endswith("No row keeps to every budget")
    assert "row 10 misses 5 ms." not in text, "the error, which is the last line of a build, names it"
    assert "●" not in text and "○" not in text


def test_a_narrow_terminal_loses_no_digit_of_a_number(parts: SimpleNamespace) -> None:
    assert "…" not in _printed(parts.summary(), width=50)


def test_a_text_that_looks_like_markup_is_shown_as_it_is(parts: SimpleNamespace) -> None:
    target = parts.summary().targets["x86-ort"].model_copy(update={"verdict": "[red]x[/nope]"})
    assert "[red]x[/nope]" in _printed(parts.summary(targets={"x86-ort": target}, chosen=target.chosen))


def test_nothing_of_the_verdict_is_said_twice(parts: SimpleNamespace) -> None:
    target = parts.summary().targets["x86-ort"]
    verdict = f"x86-ort pruned int8 is chosen: 8.50 ms at p50, 2.94x the reference. {target.verdict}"
    printed = _printed(parts.summary(targets={"x86-ort": target}, chosen=target.chosen, verdict=verdict), 200)
    assert printed.count(target.verdict) == 1 and printed.count("is chosen") == 1
