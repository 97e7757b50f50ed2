"""What a terminal is given: no text commands it, and every table fits it without losing a digit."""

import ast
import io
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import edgeprune
from edgeprune.report.cells import Cell, Head, Line, Table
from edgeprune.report.console import UNBOUNDED, draw, fold, for_terminal, hang, say, terminal
from edgeprune.report.results import print_results
from edgeprune.report.terminal import print_summary

PACKAGE = Path(edgeprune.__file__).parent
DIRECT = {"click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write", "Console"}
# Escapes of every kind, markup of rich, commands of GitHub, Azure and TeamCity, and any other text.
HOSTILE = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(
            ["\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\x9d52;c;x\x9c", "\r", "\x08", "\u202e", "\ud800",
             "\n", "[red]", "[/nope]", "[link=http://e.x]", "::set-output name=x::y", "##[error]", "##vso[x]",
             "##teamcity[x]", ":boom:", "x86"]
        )
    ).map("".join),
)  # fmt: skip


def _printed(show: Any, width: int = 80) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=width, markup=False, emoji=False, highlight=False))
    return stream.getvalue()


def _commands_nothing(text: str) -> bool:
    lines = text.split("\n")
    obeyed = [line for line in lines if line.lstrip().startswith("::") or re.search(r"##\w*\[", line)]
    return not obeyed and all(char.isprintable() or char == "\n" for char in text)


@given(HOSTILE)
def test_no_text_commands_a_terminal_or_a_ci_system(text: str) -> None:
    assert _commands_nothing(for_terminal(text))
    assert _commands_nothing(_printed(lambda console: say(console, text)))
    assert _commands_nothing(_printed(lambda console: hang(console, text[:20], text)))
    table = Table((Head(text, text, numeric=False), Head("n")), (Line((Cell(text), Cell("1.5"))),))
    assert _commands_nothing(_printed(lambda console: draw(table, console)))


@given(st.sampled_from(["a note of [red]x[/nope] :boom:", "x86-ort", "a: b::c", "##"]))
def test_other_text_is_shown_as_it_is(text: str) -> None:
    assert for_terminal(text) == text
    assert _printed(lambda console: say(console, text)) == f"{text}\n"


@given(
    st.lists(st.tuples(st.text("abc/._- 漢", max_size=60), st.floats(0, 1e9)), min_size=1, max_size=5),
    st.integers(20, 200),
)
def test_a_table_fits_every_width_and_loses_no_digit(rows: list[tuple[str, float]], width: int) -> None:
    heads = (Head("layer", numeric=False), Head("time", "ms"), Head("share", "%"))
    lines = tuple(Line((Cell(name), Cell(f"{ms:.2f}"), Cell(f"{ms:.1f}"))) for name, ms in rows)
    text = _printed(lambda console: draw(Table(heads, lines), console), width)
    assert max(map(cell_len, text.splitlines())) <= width
    for name, ms in rows:
        assert f"{ms:.2f}" in text
        assert all(char in text for char in name)


@given(st.text("ab/._- 漢\u0301", max_size=80), st.integers(4, 40))
def test_a_folded_text_fits_and_keeps_every_letter(text: str, width: int) -> None:
    lines = fold(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_names_break_behind_a_separator_and_not_in_the_middle_of_a_word() -> None:
    assert fold("/model.0/conv/Conv", 12) == ["/model.0/", "conv/Conv"]
    heads = (Head("layer", numeric=False), Head("time", "ms"))
    lines = (Line((Cell("/model.22/cv3.0/cv3.0.0/conv/Conv"), Cell("0.123"))),)
    text = _printed(lambda console: draw(Table(heads, lines), console), 26)
    assert [line.rstrip() for line in text.splitlines()] == [
        "                      time",
        "layer                   ms",
        "/model.22/cv3.0/     0.123",
        "cv3.0.0/conv/Conv",
    ]  # fmt: skip


def test_where_no_column_can_be_narrowed_each_row_takes_lines_of_its_own() -> None:
    heads = (Head("row", numeric=False), *(Head(f"p{index}", "ms") for index in (50, 90, 99)))
    line = Line((Cell("pruned int8"), Cell("1234.50"), Cell("2345.60"), Cell("–")))
    assert _printed(lambda console: draw(Table(heads, (line,)), console), 30).splitlines() == [
        "pruned int8", "  p50 1234.50 ms", "  p90 2345.60 ms, p99 – ms",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [40, 80, 200])
def test_what_commands_print_fits_the_terminal(parts: SimpleNamespace, width: int) -> None:
    summary = parts.summary()
    del summary.targets["jetson"]  # its commands are one line each, to be copied
    results = [parts.bench_result("x86-openvino original fp32 with a long name", 1234.5)]
    for show in (partial(print_summary, summary), partial(print_results, results)):
        assert max(map(cell_len, _printed(show, width).splitlines())) <= width
    assert "1,244" in _printed(partial(print_results, results), width)


def test_a_pipe_has_no_width_and_no_colour(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    console = terminal()
    say(console, " ".join(50 * ["word"]), "bold red")
    assert console.width == UNBOUNDED
    assert capsys.readouterr().out == " ".join(50 * ["word"]) + "\n"
    monkeypatch.setenv("COLUMNS", "20")
    assert terminal().width == 20


def test_commands_print_by_these_functions_alone() -> None:
    """A new `print` or `click.echo` of a name out of a file would let its escapes through."""
    allowed = {"cli/__init__.py": {"click.echo"}, "cli/progress.py": {"sys.stderr.write"}}
    for path in (*(PACKAGE / "cli").glob("*.py"), *(PACKAGE / "report").rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        calls = {
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        }
        direct = calls & {
            "click.echo",
            "click.secho",
            "print",
            "sys.stdout.write",
            "sys.stderr.write",
            "Console",
        }
        if name == "report/console.py":
            direct -= {"Console"}
        assert direct <= allowed.get(name, set()), name
