"""The search for the budget in the report: what was taken, what more would have bought, the curve."""

from __future__ import annotations

import re

from edgeprune.records.pruning import BudgetSearch, Lever, Rung
from edgeprune.records.speedup import Speedup
from edgeprune.report.rungs import accuracy_against_speed, levers_table, rungs_table, search_words


def _search(*rungs: Rung, **changes: object) -> BudgetSearch:
    search = BudgetSearch(
        metric="mAP50-95",
        cost="latency",
        budget=0.01,
        precision="int8",
        epochs_short=6,
        epochs_long=60,
        left=0.4,
        rungs=rungs,
    )
    return search.model_copy(update=changes)


def _rung(share: float, short: float | None, long: float | None = None, **changes: object) -> Rung:
    rung = Rung(
        share=share,
        predicted_ms=10 * share,
        gain=Speedup(times=1 / share),
        params=share,
        short=short,
        short_interval=None if short is None else (short - 0.01, short + 0.012),
        long=long,
        long_interval=None if long is None else (long - 0.01, long + 0.012),
    )
    return rung.model_copy(update=changes)


TAKEN = _rung(0.5, 0.02, 0.008, chosen=True)
SMALLER = _rung(0.35, 0.05, 0.017)


def test_what_was_taken_and_what_a_larger_budget_would_buy_is_said() -> None:
    words = search_words(_search(_rung(0.7, 0.004), TAKEN, SMALLER))
    assert words == [
        "The search was carried through: 3 sizes were tried.",
        "The smallest that keeps to a drop of 0.01 on val is 2.00 times as fast as the original; it loses "
        "0.0080 [-0.0020, 0.0200].",
        "A budget of 0.0170 would have bought more: 2.86 times as fast as the original.",
    ]


def test_a_size_without_a_cut_is_said_to_have_all_its_channels() -> None:
    words = search_words(_search(TAKEN.model_copy(update={"params": 1.0, "imgsz": 256})))
    assert words[2] == "It has all its channels."


def test_of_a_disturbed_measurement_only_the_lower_end_is_claimed() -> None:
    gain = Speedup(times=2.4, low=1.8, high=2.9, turns=96, disturbed=True)
    search = _search(_rung(0.7, 0.004), TAKEN.model_copy(update={"gain": gain}))
    assert "at least 1.80 times as fast as the original; it loses" in search_words(search)[1]
    assert [line.cells[2].text for line in rungs_table(search).lines] == [
        "1.43",
        "\N{GREATER-THAN OR EQUAL TO} 1.80",
    ]
    assert "at least, where the machine was busy" in (accuracy_against_speed(search, "curve") or "")
    nothing = _search(TAKEN.model_copy(update={"gain": gain.model_copy(update={"low": 0.9})}))
    assert "is 50% of the latency; it loses" in search_words(nothing)[1]


def test_each_way_to_a_size_is_shown_with_what_was_taken() -> None:
    levers = tuple(
        Lever(metric="mAP50-95", imgsz=imgsz, width=width, score=score, recovered=later, taken=imgsz == 256)
        for imgsz, width, score, later in ((320, 0.5, 0.41, None), (256, 0.8, 0.52, 0.55))
    )
    search = _search(_rung(0.7, 0.004, imgsz=320), TAKEN.model_copy(update={"imgsz": 256, "levers": levers}))
    shown = levers_table(search)
    assert shown is not None
    assert [[cell.text for cell in line.cells] for line in shown.lines] == [
        ["50", "320", "50", "0.4100", "–", "left"],
        ["50", "256", "80", "0.5200", "0.5500", "taken"],
    ]
    assert [line.cells[1].text for line in rungs_table(search).lines] == ["320", "256"]
    assert "2.00 times as fast as the original at 256 px" in search_words(search)[1]
    assert levers_table(_search(TAKEN)) is None


def test_what_each_size_was_cut_from_is_shown_where_it_is_known() -> None:
    again = [SMALLER.model_copy(update={"cut_from": share}) for share in (0.7, 0.5)]
    shown = rungs_table(_search(_rung(1.0, 0.001), *again))
    assert [[cell.text for cell in line.cells[:2]] for line in shown.lines] == [
        ["100", "–"],
        ["35", "70"],
        ["35", "50"],
    ]
    assert "cut from" not in str(rungs_table(_search(TAKEN)))


def test_the_blocks_that_went_are_counted_where_any_did() -> None:
    lever = Lever(metric="mAP50-95", imgsz=320, width=0.5, blocks=2, score=0.5, taken=True)
    taken = TAKEN.model_copy(update={"blocks": 2, "levers": (lever,)})
    search = _search(_rung(0.7, 0.004), taken)
    sizes, levers = rungs_table(search), levers_table(search)
    assert [head.text for head in sizes.heads][:2] == ["latency", "blocks"]
    assert [line.cells[1].text for line in sizes.lines] == ["0", "2"]
    assert levers is not None
    assert levers.lines[0].cells[3].text == "2"
    assert "blocks" not in [head.text for head in rungs_table(_search(TAKEN)).heads]


def test_where_nothing_keeps_to_the_budget_it_says_what_would_have_been_needed() -> None:
    nearest = _rung(0.7, 0.03, 0.014, chosen=True)
    words = " ".join(search_words(_search(nearest, SMALLER)))
    assert "None keeps to a drop of 0.01 on val." in words
    assert "it loses 0.0140 [0.0040, 0.0260], and --max-drop 0.0140 would take it." in words
    assert "Here 10 times the epochs left 40% of a drop" in words
    untrained = _search(_rung(0.7, 0.03, chosen=True), left=None, epochs_short=0, epochs_long=0)
    assert "epochs" not in " ".join(search_words(untrained))


def test_where_the_budget_has_to_be_sure_the_upper_ends_count() -> None:
    words = search_words(
        _search(_rung(0.7, -0.003, chosen=True), TAKEN.model_copy(update={"chosen": False}), sure=True)
    )
    assert words[1:] == [
        "The smallest that keeps with its whole interval to a drop of 0.01 on val is 1.43 times as fast as "
        "the original; it loses -0.0030 [-0.0130, 0.0090].",
        "A budget of 0.0200 would have bought more: 2.00 times as fast as the original.",
    ]
    missed = " ".join(search_words(_search(_rung(0.7, 0.00401, chosen=True), sure=True)))
    assert "--max-drop 0.0161 would take it" in missed  # rounded up, so that it does


def test_an_end_before_the_time_and_notes_are_told() -> None:
    words = search_words(_search(TAKEN, ended="interrupted", notes=("the table is unfit",)))
    assert words[0].startswith("Ctrl-C ended the search") and words[-1] == "The table is unfit."
    assert search_words(_search(TAKEN, ended="time"))[0].startswith("The time was up")


def test_sizes_of_a_target_that_is_not_measured_are_shares_of_the_work() -> None:
    (_, size) = search_words(_search(_rung(0.5, 0.004, chosen=True, gain=None), cost="macs"))
    assert "is 50% of the multiply-accumulates; it loses 0.0040 [" in size


def test_every_size_is_in_the_table_with_what_became_of_it() -> None:
    slow = _rung(0.6, None, slow=True)
    easy = _rung(0.8, 0.002, as_cut=True)
    assert rungs_table(_search(easy)).lines[0].cells[-1].text == "keeps to the budget (as cut)"
    lines = rungs_table(_search(SMALLER, TAKEN, slow, _rung(0.7, 0.004))).lines
    assert [line.cells[-1].text for line in lines] == [
        "keeps to the budget",
        "not faster on the target",
        "taken",
        "over the budget",
    ]
    assert [line.cells[0].text for line in lines] == ["70", "60", "50", "35"]
    assert lines[1].cells[4].why == "not trained"
    assert lines[2].cells[5].text == "0.0080 [−0.002, 0.020]"


def test_the_curve_has_a_point_for_every_recovery_and_none_where_there_is_nothing_to_compare() -> None:
    svg = accuracy_against_speed(_search(_rung(0.7, 0.004), TAKEN, SMALLER), "curve")
    assert svg is not None and svg.startswith("<svg")
    assert len(re.findall(r'<g id="curve-PathCollection', svg)) == 5
    assert len(re.findall(r'<g id="curve-LineCollection', svg)) == 3  # the interval of each size
    assert "drop of mAP50-95 on val" in svg and "times as fast as the original" in svg
    assert accuracy_against_speed(_search(TAKEN), "curve") is None
