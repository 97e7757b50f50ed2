"""Exit codes are a contract with scripts and CI; suggestions help and never mislead."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core import errors
from edgeprune.core.errors import EdgepruneError, did_you_mean, how_it_ended

# The contract of CONTRIBUTING.md.
EXIT_CODES = {
    "EdgepruneError": 3,
    "ConfigError": 3,
    "ModelError": 3,
    "DataError": 3,
    "OutputError": 3,
    "DeviceError": 4,
    "DroppedError": 4,
    "IncompleteError": 4,
    "CompileError": 5,
    "RuntimeMissingError": 5,
    "NotComparableError": 6,
    "BudgetError": 7,
    "InconclusiveError": 8,
    "RegressionError": 10,
    "InterruptedBuildError": 130,
}


def _tree(root: type[EdgepruneError]) -> Iterator[type[EdgepruneError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def test_exit_codes_are_the_contract() -> None:
    ours = {
        kind.__name__: kind.exit_code for kind in _tree(EdgepruneError) if kind.__module__ == errors.__name__
    }
    assert ours == EXIT_CODES


def test_all_errors_live_in_one_file() -> None:
    assert {kind.__module__ for kind in _tree(EdgepruneError) if kind.__module__.startswith("edgeprune")} == {
        errors.__name__
    }


def test_no_verdict_looks_like_a_traceback_or_a_usage_error() -> None:
    assert not {kind.exit_code for kind in _tree(EdgepruneError)} & {0, 1, 2}


@pytest.mark.parametrize(
    ("word", "near"),
    [("int9", "int8"), ("jetsn", "jetson"), ("x86-openvin", "x86-openvino"), ("cpuu", "cpu")],
)
def test_a_slip_gets_the_word_that_was_meant(word: str, near: str) -> None:
    known = ["int8", "fp32", "jetson", "x86-ort", "x86-openvino", "cpu"]
    assert did_you_mean(word, known) == f" (did you mean {near!r}?)"


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("prune", ["build", "bench", "profile"], "build"),
        ("benchmark", ["build", "bench"], "bench"),
        ("latency", ["fps", "p50_ms", "peak_mb"], "p50_ms"),
        ("memory", ["fps", "p50_ms", "peak_mb"], "peak_mb"),
        ("learning_rate", ["lr0", "epochs"], "lr0"),
        ("tflite", ["litert", "executorch"], "litert"),
        ("INT8", ["int8", "fp32"], "int8"),
    ],
)
def test_another_word_gets_the_name_that_it_means(word: str, known: list[str], meant: str) -> None:
    assert did_you_mean(word, known) == f" (did you mean {meant!r}?)"


def test_nothing_near_gets_no_suggestion() -> None:
    assert did_you_mean("quartz", ["int8", "fp32"]) == ""
    assert did_you_mean("anything", []) == ""


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=12), max_size=8))
def test_a_suggestion_is_always_a_known_word(word: str, known: list[str]) -> None:
    hint = did_you_mean(word, known)
    assert hint in {"", *(f" (did you mean {name!r}?)" for name in known)}


@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=20), st.data())
def test_one_missing_letter_is_forgiven(word: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(word) - 1))
    assert did_you_mean(word[:place] + word[place + 1 :], [word]) == f" (did you mean {word!r}?)"


@pytest.mark.parametrize(
    ("returncode", "says"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "killed by SIGKILL (out of memory?)"),
        (-11, "killed by SIGSEGV"),
        (-40, "killed by signal 40"),  # a real-time signal, which has no name
    ],
)
def test_how_a_process_ended_is_said_in_words(returncode: int, says: str) -> None:
    assert how_it_ended(returncode) == says
