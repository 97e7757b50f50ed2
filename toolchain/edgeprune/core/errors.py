"""The whole error tree: every way a command can end other than well, with its exit code.

A message is one line for the user: what was wrong, where (file and key), what to do. Exit code 1 is never a
verdict: it is what Python gives an unexpected traceback.
"""

from __future__ import annotations

import contextlib
import signal
import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from edgeprune.core.meanings import are_other_words, meant_target, synonym


class EdgepruneError(Exception):
    """Base of all errors that edgeprune raises on purpose.

    Attributes:
        exit_code: the process exit status of the command that ends with this error.
    """

    exit_code = 3


class ConfigError(EdgepruneError):
    """A recipe, profile or option holds an unknown key or an impossible value."""


class OwnWarning(UserWarning):
    """What a command tells its user on the way, as a line of its own."""


class KnownFaultWarning(OwnWarning):
    """Something that is about to be done is known to fail with the versions that are there."""


class OldFormWarning(OwnWarning):
    """A file of the user's is written as an earlier version had it: it is read, and told what to write."""


class NotMeasuredWarning(OwnWarning):
    """A target of several is not of the device that was named."""


class LostConnectionWarning(OwnWarning):
    """A device is out of reach, and is tried again."""


def tell(warning: OwnWarning) -> None:
    """Show a warning of ours, though a library may have silenced all."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", type(warning))
        warnings.warn(warning, stacklevel=2)


class ModelError(EdgepruneError):
    """The model file cannot be used: missing, truncated, unsafe, of another kind, or non-finite weights."""


class DataError(EdgepruneError):
    """The data set cannot be used: no images, no labels, or classes that are not the model's."""


class OutputError(EdgepruneError):
    """The output folder cannot be written: permissions, a full disk, or another build at work in it."""


class DeviceError(EdgepruneError):
    """A device, or a worker process on it, could not be reached, crashed, or answered with garbage.

    Attributes:
        telemetry: what was sampled beside a worker until it broke off, see `worker/telemetry.py`.
        returncode: of the process that failed, if one did.
        how: in words how that process ended; empty without one.
        said: the last line of its standard error.
    """

    exit_code = 4
    telemetry: tuple[dict[str, Any], ...] = ()
    returncode: int | None = None
    how = ""
    said = ""

    @classmethod
    def of_process(cls, what: str, returncode: int | None, how: str, said: str = "") -> DeviceError:
        """Return the error of a process that failed: `what` is where it ran and its command."""
        error = cls(f"{what}: {how}{': ' if said else ''}{said}")
        error.returncode, error.how, error.said = returncode, f"{how}{': ' if said else ''}{said}", said
        return error


class DroppedError(DeviceError):
    """The connection could not be made, or ended before the answer came: another try may succeed."""


class IncompleteError(DeviceError):
    """A device failed in mid-measurement.

    Attributes:
        results: what had finished, each a `records.bench_result.BenchResult` with the flag ``incomplete``.
    """

    def __init__(self, message: str, results: Sequence[Any]) -> None:
        super().__init__(message)
        self.results = tuple(results)


class CompileError(EdgepruneError):
    """Exporting, quantizing or compiling an artifact failed, or its output left the tolerance."""

    exit_code = 5


class RuntimeMissingError(CompileError):
    """A runtime that the target needs is not installed here; the message says how to get it."""


class NotComparableError(EdgepruneError):
    """Two results or artifacts differ in device, runtime, precision or input shape: not to be compared."""

    exit_code = 6


class BudgetError(EdgepruneError):
    """Nothing that was built stays inside the budgets, or a warning stands under ``--strict``.

    Everything is kept, and the nearest miss or the warning is named.
    """

    exit_code = 7


class InconclusiveError(EdgepruneError):
    """The gate spent all its pairs without a verdict, or no number was measured to hold against a budget."""

    exit_code = 8


class RegressionError(EdgepruneError):
    """The gate found the candidate to be worse than the baseline."""

    exit_code = 10


class InterruptedBuildError(EdgepruneError):
    """Ctrl-C: what was finished is kept, and the message names it."""

    exit_code = 130


LONGEST = 400
"""Characters of another program's message that an error quotes."""


def shorten(message: object, longest: int = LONGEST) -> str:
    """Return a message in one line; a long one keeps its beginning and its end, where the reason often is."""
    text = " ".join(str(message).split()) or (
        type(message).__name__ if isinstance(message, BaseException) else "it gives no reason"
    )
    if len(text) <= longest:
        return text
    first = longest // 3
    return f"{text[:first].rstrip()} ... {text[first + 5 - longest :].lstrip()}"


def how_it_ended(returncode: int) -> str:
    """Say in words how a process ended, by its return code: a negative one is the number of a signal."""
    if returncode >= 0:
        return f"exited with code {returncode}"
    with contextlib.suppress(ValueError):  # most real-time signals have no name
        name = signal.Signals(-returncode).name
        return f"killed by {name} (out of memory?)" if name == "SIGKILL" else f"killed by {name}"
    return f"killed by signal {-returncode}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known word that `word` means, or an empty string.

    That is a synonym (see `meanings`), else the nearest by its letters, whether large or small.
    """
    names = list(known)
    near = [found] if (found := synonym(word, names)) else get_close_matches(word, names, n=1, cutoff=0.5)
    if not near:
        small = {name.lower(): name for name in names}
        near = [small[name] for name in get_close_matches(word.lower(), list(small), n=1, cutoff=0.5)]
    return f" (did you mean {near[0]!r}?)" if near else ""


def which_target(name: str, targets: Iterable[str]) -> str:
    """Return what to take instead of an unknown target, as the end of a sentence, or an empty string.

    A slip gets the target that was meant; else what the word means decides, and only then its letters. Other
    words are no slip: ``jetson-nano`` is another board than ``jetson-orin-nano``, ``opi5`` than ``pi5``.
    """
    names = list(targets)
    for cutoff in (0.8, 0.6):
        near = get_close_matches(name.lower(), names, n=1, cutoff=cutoff)
        if near and not (cutoff == 0.8 and are_other_words(name, near[0])):
            return f" (did you mean {near[0]!r}?)"
        if meant := meant_target(name, names):
            return meant
    return ""
