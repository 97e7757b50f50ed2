"""Files that a command writes: none may replace what the same command reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgeprune.core.artifact import SUMMARY
from edgeprune.core.errors import OutputError
from edgeprune.core.files import is_stream


def require_apart(outputs: Iterable[Path | None], inputs: Iterable[Path | str | None]) -> None:
    """Refuse an output file that is an input, or lies among the files of an input folder.

    Directly in a build folder a page of an earlier run may be replaced, but never its summary.

    Args:
        outputs: files to write; None is an option that was not given.
        inputs: files and folders to read, or the URL of a database; those that are not there do not matter.

    Raises:
        OutputError: one would replace an input; the output is named.
    """
    places = [path for text in inputs if text and (path := _place(text)).exists()]
    for output in outputs:
        if output is None or not output.is_file() or is_stream(output):
            continue
        for place in places:
            if _is_part(output, place):
                raise OutputError(f"{output}: the command reads this file, so name another")


def profile_file(target: str | None) -> Path | None:
    """Return the file of a target that is given by its file, None for one that is given by a name."""
    return Path(target) if target and target.endswith((".yaml", ".yml")) else None


def _place(text: Path | str) -> Path:
    return Path(str(text).removeprefix("sqlite:///"))


def _is_part(output: Path, place: Path) -> bool:
    if not place.is_dir():
        return output.samefile(place)
    folder, summary = output.absolute().parent.resolve(), place / SUMMARY
    if summary.is_file() and folder == place.resolve():
        return output.samefile(summary)
    return place.resolve() in (folder, *folder.parents)
