"""Tables before they are drawn: HTML, Markdown and the terminal show the same cells."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """A shown value; `why` says what a missing one is missing for."""

    text: str
    why: str = ""


@dataclass(frozen=True)
class Head:
    """A column: its name, its unit, and whether it holds numbers (set flush right)."""

    text: str
    unit: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Line:
    """A row of cells.

    Attributes:
        tone: as of `Report.tone`.
        notes: sentences to set below it.
        flagged: what makes the measurement behind it unfit; empty for a fit one.
    """

    cells: tuple[Cell, ...]
    tone: str = ""
    notes: tuple[str, ...] = ()
    flagged: str = ""


@dataclass(frozen=True)
class Table:
    """Columns and rows."""

    heads: tuple[Head, ...]
    lines: tuple[Line, ...]


def table(heads: Iterable[Head], rows: Iterable[Iterable[Cell]]) -> Table:
    """Build a table of plain rows."""
    return Table(tuple(heads), tuple(Line(tuple(cells)) for cells in rows))


def word(text: object, why: str = "") -> Cell:
    """Show a text on one line, without control characters; None or nothing is missing."""
    shown = plain(text)
    return Cell(shown) if shown else Cell(MISSING, why)


def number(
    value: float | None, digits: int = 0, why: str = "not measured", suffix: str = "", prefix: str = ""
) -> Cell:
    """Show a number with a fixed count of decimals and a real minus sign; None is missing, never 0."""
    if value is None:
        return Cell(MISSING, why)
    text = f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")
    if not any(digit in text for digit in "123456789"):
        text = text.removeprefix("\N{MINUS SIGN}")
    return Cell(prefix + text + suffix)


def part_interval(text: str) -> tuple[str, str]:
    """Part a number from the interval behind it, such as ``0.0038`` and ``[-0.004, 0.012]``; ``""`` is none.

    A page sets them below each other, so that a table of many fits.
    """
    found = re.fullmatch(r"(\S*\d\S*) ([\[(][^\])]+[\])])", text)
    return (found[1], found[2]) if found else (text, "")


def printable(text: str) -> str:
    """Return a text without control characters but line breaks: a terminal obeys some, XML forbids most."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def plain(text: object) -> str:
    """Return a text on one line: names out of a model or a data set may hold anything."""
    return "" if text is None else " ".join(printable(str(text)).split())


def split_metric(name: str) -> tuple[str, str]:
    """Return the word and the numbers of a metric's name, such as ``mAP`` and ``50-95``, or all of it."""
    found = re.fullmatch(r"([A-Za-z]{2,})(\d[\d-]+)", name)
    return (found[1], found[2]) if found else (name, "")


def ending(name: str, limit: int) -> str:
    """Return the end of a long name behind an ellipsis, from a separator on where there is one."""
    name = plain(name)
    if len(name) <= limit:
        return name
    tail = name[1 - limit :]
    starts = (tail.find(separator, 0, limit // 2) for separator in "/._")
    return f"…{tail[next((start for start in starts if start >= 0), 0) :]}"
