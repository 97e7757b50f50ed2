from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from edgeprune.core.errors import NotComparableError, OutputError
from edgeprune.report.cells import plain
from edgeprune.report.markdown import escape, write_markdown

HOSTILE = "<script>alert(1)</script> | `b` [l](http://e.x) **z** @all #1 $x$ \\ ![i](http://e.x/i.png)\n# h"


def test_the_report_looks_like_this(
    make_build: Callable[..., Path], golden: Callable[[str, str], None]
) -> None:
    path = write_markdown(make_build())
    assert path.name == "report.md"
    golden("report.md", path.read_text(encoding="utf-8"))


def test_names_out_of_a_model_or_data_set_stay_text(
    make_build: Callable[..., Path], parts: SimpleNamespace
) -> None:
    summary = parts.summary()
    target = summary.targets["x86-openvino"]
    rows = tuple(row.model_copy(update={"per_class": {HOSTILE: 0.5}}) for row in target.rows)
    layers = parts.pruning().model_copy(
        update={"layers": (parts.pruning().layers[0].model_copy(update={"layer": HOSTILE}),)}
    )
    hostile = target.model_copy(
        update={"rows": rows, "chosen": rows[-1], "verdict": HOSTILE, "pruning": layers}
    )
    folder = make_build(
        targets={**summary.targets, "x86-openvino": hostile},
        chosen=rows[-1],
        verdict=HOSTILE,
        environment={HOSTILE: HOSTILE},
        command="echo '````'\n# not a heading",
    )
    tokens = (
        MarkdownIt("commonmark").enable("table").parse(write_markdown(folder).read_text(encoding="utf-8"))
    )
    inline = [child for token in tokens for child in token.children or ()]
    assert not [token for token in inline if token.type in ("link_open", "image", "code_inline")]
    # What parts an @ or a # from the word behind it, so that no forge takes it for a person or an issue.
    assert {token.content for token in inline if token.type == "html_inline"} == {"<!-- -->"}
    blocks = [token.content for token in tokens if token.type == "html_block"]
    assert all(block.startswith(("<details>", "</details>", "<summary>")) for block in blocks)
    assert not [block for block in blocks if "script" in block]
    shown = [token.content for token in inline if token.type == "text"]
    assert any(
        "<script>alert(1)</script> | `b` [l](http://e.x) **z**" in "".join(shown[i : i + 40])
        for i in range(len(shown))
    )
    assert [token.content for token in tokens if token.type == "fence"][-1].startswith("echo '````'\n")


def test_without_samples_the_report_says_so(make_build: Callable[..., Path]) -> None:
    text = write_markdown(make_build(benches=False)).read_text(encoding="utf-8")
    assert "There are no latency samples to show" in text
    assert "the samples of x86-ort original fp32 cannot be read" in text


def test_a_folder_that_is_no_build_and_a_place_that_cannot_be_written_are_one_clear_line(
    make_build: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(NotComparableError, match="no finished build is here"):
        write_markdown(tmp_path / "nothing")
    folder = make_build(benches=False)
    with pytest.raises(OutputError, match="cannot be written"):
        write_markdown(folder, folder / "summary.json" / "report.md")


@given(
    st.text(), st.sampled_from(["", "- ", "1. ", "+ ", "--- ", "@", "#", "GH-1 ", "https://e.x/", "www.e.x "])
)
def test_any_text_stays_one_paragraph_of_text(text: str, start: str) -> None:
    shown = plain(start + text)
    tokens = MarkdownIt("commonmark").enable("table").parse(escape(start + text))
    assert [token.type for token in tokens] == (
        ["paragraph_open", "inline", "paragraph_close"] if shown else []
    )
    children = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in children} <= {"text", "html_inline"}
    assert {child.content for child in children if child.type == "html_inline"} <= {"<!-- -->"}
    assert "".join(child.content for child in children if child.type == "text") == shown


def test_a_forge_links_nobody_and_nothing() -> None:
    assert escape("@bob #12 https://e.x www.e.x") == r"\@<!-- -->bob \#<!-- -->12 https\://e.x www\.e.x"


def test_a_chosen_row_of_an_unfit_run_is_said_to_be_one(
    make_build: Callable[..., Path], parts: SimpleNamespace
) -> None:
    target = parts.summary().targets["x86-openvino"]
    row = target.rows[-1].model_copy(update={"flags": ("contended", "noisy")})
    changed = target.model_copy(update={"rows": (*target.rows[:-1], row), "chosen": row})
    text = write_markdown(
        make_build(targets=parts.summary().targets | {"x86-openvino": changed}, chosen=row)
    ).read_text(encoding="utf-8")
    assert text.splitlines()[0].endswith(", measured in a run flagged contended")
    assert "| **10** | **pruned int8** (contended) |" in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"low": 2.5, "high": 4.2, "disturbed": True}, "at least 2.50x as fast as x86-ort original fp32"),
        ({"low": 0.9, "high": 9.0, "disturbed": True}, "7.50 ms at p50"),
    ],
)
def test_the_heading_claims_no_more_of_a_disturbed_run_than_it_proves(
    make_build: Callable[..., Path], parts: SimpleNamespace, changes: dict[str, Any], told: str
) -> None:
    built = parts.summary()
    gain = built.chosen.gain.model_copy(update=changes)
    chosen = built.chosen.model_copy(update={"gain": gain, "flags": ("contended",)})
    tied = ("x86-openvino pruned bf16",)
    first = write_markdown(make_build(chosen=chosen, tied=tied)).read_text().splitlines()[0]
    assert first == (
        f"## x86-openvino pruned int8 is chosen: {told}, measured in a run flagged contended, "
        "not told apart in speed from x86-openvino pruned bf16"
    )
