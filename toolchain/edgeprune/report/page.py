"""A small self-contained HTML page: a title, and parts that are already markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from edgeprune.report.svg import COLOURS

_DARK = {"ink": "#e6e9ec", "muted": "#9aa5b1", "rule": "#39424c", "paper": "#14181c"}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}
body{{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;margin:2rem auto;
max-width:64rem;padding:0 1rem}}
figure{{display:inline-block;width:min(30rem,100%);margin:0 0.5rem 1.5rem 0;vertical-align:top}}
figcaption{{font-weight:600}} svg{{width:100%;height:auto;font-family:system-ui,sans-serif}}
div{{overflow-x:auto}} table{{border-collapse:collapse}} caption{{text-align:left;color:var(--muted)}}
th,td{{padding:.2rem .8rem .2rem 0;text-align:right;border-bottom:1px solid var(--rule)}}
th.word,td.word{{text-align:left}}
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
    return _PAGE.format(title=escape(title), style=style, body="\n".join(parts))
