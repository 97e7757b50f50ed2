"""A small self-contained HTML page: a title, and parts that are already markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from edgeprune.report.cells import Cell, Head, Line, Table, part_interval, plain
from edgeprune.report.svg import COLOURS

_DARK = {
    "ink": "#e6eaee",
    "muted": "#98a4b0",
    "rule": "#38414a",
    "paper": "#14181c",
    "blue": "#58aae8",
    "orange": "#ec9150",
}
LONG = 40
"""A cell of more letters is wrapped."""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}
*{{box-sizing:border-box}} html{{-webkit-text-size-adjust:100%}}
body{{background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem 3rem}}
h1{{font-size:clamp(22px,1.3rem + 1vw,30px);line-height:1.28;overflow-wrap:anywhere}}
h2{{font-size:19px;margin:2.4rem 0 .4rem;overflow-wrap:anywhere}} h3{{font-size:15px;overflow-wrap:anywhere}}
p,li{{max-width:76ch;overflow-wrap:anywhere}}
figure{{display:inline-block;width:min(32rem,100%);margin:0 1rem 1.8rem 0;vertical-align:top}}
figcaption{{font-weight:600;overflow-wrap:anywhere}} figure p{{font-size:13.5px;margin:.3rem 0}}
svg{{display:block;width:100%;height:auto;overflow:visible}} svg text{{font-family:inherit}}
.scroll{{overflow-x:auto;margin:.8rem 0}}
table{{line-height:22px;border-collapse:separate;border-spacing:0;font-size:14px;font-variant-numeric:tabular-nums}}
caption{{text-align:left;color:var(--muted)}}
th,td{{padding:6px 11px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap;
vertical-align:top}}
th{{vertical-align:bottom;font-size:13px;line-height:20px;border-bottom-color:var(--muted)}}
th small,td small{{display:block;line-height:16px;font-weight:400;color:var(--muted);font-size:12px}}
th.word,td.word{{text-align:left}}
td.long{{white-space:normal;min-width:18rem;overflow-wrap:anywhere}}
tr>:first-child{{position:sticky;left:0;background:var(--paper);z-index:1}}
@media(max-width:520px){{td.long{{min-width:9rem}} th,td{{padding:6px 8px}}}}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Return a page as text.

    Args:
        title: plain text; it is escaped here.
        parts: markup, in order; whoever made it has escaped what came from a model or a data set.
    """
    light = "".join(f"--{name}:{value};" for name, value in COLOURS.items())
    dark = "".join(f"--{name}:{value};" for name, value in _DARK.items())
    style = f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return _PAGE.format(title=escape(plain(title)), style=style, body="\n".join(parts))


def paragraph(text: str) -> str:
    """Return a text as a paragraph of markup."""
    return f"<p>{escape(plain(text))}</p>"


def caption(title: str, svg: str, notes: str = "") -> str:
    """Return a chart as a figure of markup, its title above it and notes, themselves markup, below."""
    return f"<figure><figcaption>{escape(plain(title))}</figcaption>{svg}{notes}</figure>"


def markup(data: Table, caption: str = "") -> str:
    """Return a table as markup that scrolls by itself where the page is narrow, its first column staying."""
    kinds = ["" if head.numeric else " class=word" for head in data.heads]
    heads = "".join(
        f"<th scope=col{kind}>{_head(head)}</th>" for head, kind in zip(data.heads, kinds, strict=True)
    )
    body = "".join(f"<tr>{_cells(line, kinds)}</tr>" for line in data.lines)
    title = f"<caption>{escape(plain(caption))}</caption>" if caption else ""
    return f"<div class=scroll tabindex=0><table>{title}<tr>{heads}</tr>{body}</table></div>"


def _cells(line: Line, kinds: Sequence[str]) -> str:
    return "".join(_cell(cell, kind) for cell, kind in zip(line.cells, kinds, strict=True))


def _cell(cell: Cell, kind: str) -> str:
    text, interval = (plain(cell.text), "") if kind else part_interval(plain(cell.text))
    why = f' title="{escape(plain(cell.why))}"' if cell.why else ""
    below = f" <small>{escape(interval)}</small>" if interval else ""
    long = ' class="word long"'
    return f"<td{long if kind and len(text) > LONG else kind}{why}>{escape(text)}{below}</td>"


def _head(head: Head) -> str:
    unit = f"<small>{escape(plain(head.unit))}</small>" if head.unit else ""
    return escape(plain(head.text)) + unit
