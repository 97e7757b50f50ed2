"""What a terminal is given: texts that cannot command it, and tables that fit its width.

Everything that a command prints for people goes through `for_terminal`: names out of a model, a data set or a
device, and what a runtime said, may hold escapes.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from edgeprune.report.cells import Head, Table, printable

UNBOUNDED: Final = 10_000
"""Columns of a pipe or a file: a line is as long as it is."""
_GAP, _LEAST = 2, 12
# A name of a layer or a file breaks behind these, not in the middle of a word.
_PIECE = re.compile(r"[^/.,:;_=-]*[/.,:;_=-]|[^/.,:;_=-]+")
# Lines that a CI system obeys where a job prints them: `::set-output ...` of GitHub, `##[...]` of its older
# runners, `##vso[...]` of Azure, `##teamcity[...]`.
_AT_START = re.compile(r"^(\s*):(?=:)", re.MULTILINE)
_ANYWHERE = re.compile(r"##(?=\w*\[)")


def for_terminal(text: object) -> str:
    """Return a text that neither a terminal nor a CI system takes for a command; line breaks stay."""
    return _ANYWHERE.sub("# #", _AT_START.sub(r"\1: ", printable(str(text))))


class _Piped(Console):
    """A console whose reader may go: rich would end the process with code 1, which stands for a bug."""

    def on_broken_pipe(self) -> None:
        """Let the command line end it as it ends everything.

        Raises:
            BrokenPipeError: always.
        """
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def terminal(stderr: bool = False) -> Console:
    """Return a console; a pipe or a file has no width, unless COLUMNS gives one, and no colour."""
    console = _Piped(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        console.width = UNBOUNDED
    return console


def say(console: Console, text: str, style: str = "", whole: bool = False) -> None:
    """Print a text, wrapped between words; `whole` never breaks a line, so that it can be copied."""
    for line in for_terminal(text).split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        parts = [line.lstrip()] if whole else fold(line, max(console.width - len(indent), _LEAST))
        for part in parts:
            _put(console, indent + part, style)


def hang(console: Console, lead: str, text: str, style: str = "") -> None:
    """Print a text beside its lead, whose style is given; where it is wrapped, it stays right of the lead."""
    lead = for_terminal(lead)
    room = max(console.width - cell_len(lead), _LEAST)
    for index, part in enumerate(fold(for_terminal(text), room)):
        shown = Text(for_terminal((" " * cell_len(lead) if index else lead) + part))
        shown.stylize(style if not index else "", 0, len(lead))
        console.print(shown, soft_wrap=True)


def draw(data: Table, console: Console, styles: Mapping[str, str] | None = None) -> None:
    """Print a table. A number is never cut; words fold between their parts on a narrow terminal.

    Where that does not suffice, each row takes a few lines of its own. A head may have several lines.

    Args:
        styles: rich's style by the tone of a row.
    """
    rows = [tuple(for_terminal(cell.text) for cell in line.cells) for line in data.lines]
    widths = _widths(data.heads, rows, console.width)
    if widths is None:
        _stack(data, rows, console, styles or {})
        return
    titles = [_title(head) for head in data.heads]
    depth = max(map(len, titles), default=0)
    padded = [("",) * (depth - len(title)) + title for title in titles]
    for part in zip(*padded, strict=True):
        _put(console, _joined(data.heads, part, widths), "bold")
    for line, texts in zip(data.lines, rows, strict=True):
        style = (styles or {}).get(line.tone, "")
        for part in _folded(texts, widths):
            _put(console, _joined(data.heads, part, widths), style)


def fits(data: Table, console: Console) -> bool:
    """Tell whether a table has room for every row on one line, with nothing folded."""
    rows = [tuple(for_terminal(cell.text) for cell in line.cells) for line in data.lines]
    return _width(_natural(data.heads, rows)) <= console.width


def _put(console: Console, line: str, style: str = "") -> None:
    """Print one line as it is; its parts are harmless alone, here it is made so as a whole."""
    console.print(Text(for_terminal(line), style), soft_wrap=True)


def _title(head: Head) -> tuple[str, ...]:
    return (*for_terminal(head.text).split("\n"), *([for_terminal(head.unit)] if head.unit else []))


def _widths(heads: Sequence[Head], rows: Sequence[Sequence[str]], limit: int) -> list[int] | None:
    """Return the width of each column, those of words narrowed to fit; None where they cannot fit."""
    widths = _natural(heads, rows)
    floors = [
        width if head.numeric else min(width, _LEAST) for head, width in zip(heads, widths, strict=True)
    ]
    while _width(widths) > limit:
        spare = [index for index, floor in enumerate(floors) if widths[index] > floor]
        if not spare:
            return None
        widths[max(spare, key=widths.__getitem__)] -= 1
    return widths


def _natural(heads: Sequence[Head], rows: Sequence[Sequence[str]]) -> list[int]:
    return [
        max(map(cell_len, (*_title(head), *(row[index] for row in rows)))) for index, head in enumerate(heads)
    ]


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def fold(text: str, width: int) -> list[str]:
    """Break a text into lines of at most `width` columns: between words, else behind a separator in one."""
    if cell_len(text) <= width:
        return [text]
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        elif cell_len(word) <= width:
            lines.append(word)
        else:
            lines += _chopped(word, width)
    return lines or [""]


def _chopped(word: str, width: int) -> list[str]:
    lines = [""]
    for piece in _PIECE.findall(word):
        if cell_len(lines[-1] + piece) <= width:
            lines[-1] += piece
        else:
            lines += chop_cells(piece, width)
    return [line for line in lines if line]


def _folded(texts: Sequence[str], widths: Sequence[int]) -> Iterator[tuple[str, ...]]:
    cells = [fold(text, width) for text, width in zip(texts, widths, strict=True)]
    for index in range(max(map(len, cells), default=0)):
        yield tuple(cell[index] if index < len(cell) else "" for cell in cells)


def _joined(heads: Sequence[Head], texts: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for head, text, width in zip(heads, texts, widths, strict=True):
        space = " " * (width - cell_len(text))
        parts.append(space + text if head.numeric else text + space)
    return (" " * _GAP).join(parts).rstrip()


def _stack(data: Table, rows: Sequence[Sequence[str]], console: Console, styles: Mapping[str, str]) -> None:
    """Print each row as its name, and below it the other columns as `head value unit`, none of them cut.

    Its name is its first column, and the second one too where the first only counts.
    """
    lead = 2 if data.heads[0].text == "#" else 1
    for line, texts in zip(data.lines, rows, strict=True):
        style = styles.get(line.tone, "")
        facts = [_fact(head, text) for head, text in zip(data.heads, texts, strict=True)]
        named = texts[:lead] if lead == 2 or not data.heads[0].numeric else facts[:1]
        for part in fold(" ".join(named), console.width):
            _put(console, part, style)
        for part in _filled([fact for fact in facts[lead:] if fact], console.width - 2):
            _put(console, f"  {part}", style)


def _fact(head: Head, text: str) -> str:
    name = " ".join(for_terminal(head.text).split())
    return " ".join(filter(None, (name, text, for_terminal(head.unit)))) if text else ""


def _filled(facts: Sequence[str], width: int) -> list[str]:
    lines: list[str] = []
    for fact in facts:
        if lines and cell_len(f"{lines[-1]}, {fact}") <= width:
            lines[-1] += f", {fact}"
        else:
            lines += fold(fact, width)
    return lines
