"""Charts as inline SVG; without matplotlib a sentence in their place, which says how to get them."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import pytest

from edgeprune.report import svg
from edgeprune.report.svg import COLOURS, chart, figure, no_charts, to_svg


@chart
def draw(name: str) -> str:
    with figure(1.0) as (drawn, axes):
        axes.plot([1, 2], [3, 4], color=COLOURS["blue"])
        axes.set_xlabel("a <b> & $x$")
        return to_svg(drawn, name, 'a "label"')


def test_a_chart_is_svg_whose_ids_and_colours_are_the_pages() -> None:
    first, second = draw("one"), draw("two")
    root = ElementTree.fromstring(first)
    assert root.tag == "svg" and root.get("aria-label") == 'a "label"'
    assert "var(--blue)" in first and COLOURS["blue"] not in first
    assert "a <b> & $x$" in "".join(root.itertext())
    ids = [{found.get("id") for found in ElementTree.fromstring(text).iter() if found.get("id")}
           for text in (first, second)]  # fmt: skip
    assert ids[0] and ids[1] and not ids[0] & ids[1]
    assert no_charts() is None


def test_without_matplotlib_a_sentence_stands_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg, "is_there", lambda extra: False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told = no_charts()
    assert told == "charts need matplotlib, not installed here: pip install 'edgeprune[charts]'"
    assert draw("one") == f"<p><em>{told}</em></p>"
