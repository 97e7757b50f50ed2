"""Sanity verdicts: each warning stands where it should, says what was measured, and stays away elsewhere."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from edgeprune.bench.side_by_side import speedup
from edgeprune.pipeline.sanity import CHECKS, warnings
from edgeprune.records.bench_result import BenchResult, Block, Flag
from edgeprune.records.pruning import PassReport, Pruning
from edgeprune.records.scores import Accuracy
from edgeprune.records.summary import Row, SanityWarning, Summary, TargetSummary
from made_summaries import a_summary, four, row


def result(row: Row, medians: Sequence[float], flags: tuple[Flag, ...] = (), **backend: Any) -> BenchResult:
    """Make the measurement of a row: one process a median, in ms."""
    blocks = [
        Block(
            pid=order, order=order, t_start=0, warmup_n=1, samples_ns=(round(ms * 1e6),) * 3,
            elapsed_ns=round(ms * 3e6), canary_before_ns=1, canary_after_ns=1, ctxt_invol=0, majflt=0,
        )
        for order, ms in enumerate(medians)
    ]  # fmt: skip
    evidence = {
        "provider_requested": "CPU", "provider_actual": "CPU", "threads": 1,
        "precision_requested": row.precision, "precision_actual": row.precision,
    }  # fmt: skip
    return BenchResult(
        run_id="one", started_utc="", name=row.label, tool={}, artifact={}, backend=evidence | backend,
        scenario={}, blocks=tuple(blocks), cold_ms=None, memory=None, env_before={}, env_after={},
        flags=flags,
    )  # fmt: skip


def steady(rows: Sequence[Row], blocks: int = 5) -> dict[str, BenchResult]:
    """Measure every row at its p50, with half a per cent between processes that all rows share."""
    return {
        row.label: result(row, [row.p50_ms * (1 + 0.005 * block) for block in range(blocks)])
        for row in rows
        if row.p50_ms
    }


def built(rows: Sequence[Row], pruning: Pruning | None = None, names: Sequence[str] = "ab") -> Summary:
    """Make the summary of a build with these rows, each with a file of its own unless it names one."""
    own = [row.model_copy(update={"sha256": row.label if row.sha256 == "0" else row.sha256}) for row in rows]
    targets = {
        name: TargetSummary(
            rows=tuple(row for row in own if row.target == name),
            chosen=None,
            verdict="-",
            split="test",
            pruning=pruning,
        )
        for name in dict.fromkeys(row.target for row in rows)
    }
    return a_summary().model_copy(update={"targets": targets, "data": {"names": list(names)}})


def warned(rows: Sequence[Row], results: dict[str, BenchResult] | None = None, **facts: Any) -> list[Any]:
    return list(warnings(built(rows, **facts), steady(rows) if results is None else results))


def only(found: list[SanityWarning]) -> SanityWarning:
    assert len(found) == 1, found
    return found[0]


def test_a_sound_build_has_no_warning() -> None:
    assert warned(four()) == []
    assert warned([]) == []


def test_int8_slower_names_both_rows_their_times_and_the_bound() -> None:
    warning = only(warned(four(fp32=20, int8=30, pruned_fp32=14, pruned_int8=6)))
    assert warning.code == "int8_slower"
    assert warning.rows == ("x86-ort original int8", "x86-ort original fp32")
    assert "30.00 ms against 20.00 ms" in warning.text and "1.50x" in warning.text
    assert "Ship fp32" in warning.advice


def test_int8_that_loses_to_bf16_of_the_same_model_is_slower_too() -> None:
    rows = [*four(), row("original", "bf16", 8.0), row("pruned", "bf16", 8.0)]
    assert only(warned(rows)).rows == ("x86-ort original int8", "x86-ort original bf16")


def test_a_difference_within_the_noise_is_no_verdict() -> None:
    rows = four(fp32=20, int8=21)
    shaken = random.Random(0)
    results = steady(rows)
    noisy = [21 * shaken.uniform(0.85, 1.15) for _ in range(5)]
    results[rows[1].label] = result(rows[1], noisy)
    assert warned(rows, results) == []
    assert only(warned(rows)).code == "int8_slower"  # the same 5 %, told apart by steady pairs


@pytest.mark.parametrize(("int8", "codes"), [(21.0, []), (23.0, ["int8_slower"])])
def test_one_pair_of_processes_has_to_differ_by_more(int8: float, codes: list[str]) -> None:
    rows = four(fp32=20, int8=int8)
    assert [warning.code for warning in warned(rows, steady(rows, blocks=1))] == codes


def test_rows_of_different_sessions_are_not_compared() -> None:
    rows = four(fp32=20, int8=30)
    results = steady(rows)
    other = results[rows[0].label].model_copy(update={"run_id": "another day"})
    assert speedup(results[rows[1].label], other) is None
    assert warned(rows, results | {rows[0].label: other}) == []
    assert warned(rows, {}) == []


def test_pruned_slower_compares_within_one_precision() -> None:
    warning = only(warned(four(fp32=20, int8=10, pruned_fp32=25, pruned_int8=6)))
    assert (warning.code, warning.rows) == (
        "pruned_slower",
        ("x86-ort pruned fp32", "x86-ort original fp32"),
    )
    assert "25.00 ms against 20.00 ms" in warning.text and "--target-latency" in warning.advice


def test_accuracy_that_int8_lost_is_held_against_its_own_float() -> None:
    rows = four()
    rows[3] = row("pruned", "int8", 6, drop=0.59)
    warning = only(warned(rows))
    assert (warning.code, warning.rows) == ("accuracy_collapse", ("x86-ort pruned int8",))
    assert "0.0100 on val" in warning.text and "pruned fp32 has 0.5960" in warning.text
    assert "the same network keeps it, so the step to int8 lost it" in warning.text
    assert "calibrate" in warning.advice


def test_pruning_without_recovery_is_the_collapse_and_its_int8_is_not_blamed_again() -> None:
    rows = [*four()[:2], row("pruned", "fp32", 14, drop=0.58), row("pruned", "int8", 6, drop=0.581)]
    warning = only(warned(rows))
    assert warning.rows == ("x86-ort pruned fp32",)
    assert "the original in fp32 has 0.6000" in warning.text
    told = only(warned(rows, pruning=cut(0.01, 0.02)))
    assert "the cut lost it" in told.text and "--epochs" in told.advice


def test_a_device_without_fp32_is_held_against_the_original() -> None:
    rows = [row("original", "fp16", None, drop=0.6, target="jetson")]
    assert "no measurement between the two" in only(warned(rows, {})).text


def cut(after: float | None, recovered: float | None) -> Pruning:
    return Pruning(
        criterion="l1", goal="ratio 0.5", ratio=0.5, step=8, params_before=9, params_after=5, macs_before=9,
        macs_after=5, score_after_surgery=after, score_after_recovery=recovered,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pruning", "told"),
    [
        (cut(0.001, 0.004), "had 0.0040 after recovery (0.0010 before it), so the cut lost it"),
        (cut(0.001, 0.55), "had 0.5500 after recovery, so a step after it lost it"),
        (cut(0.001, None), "had 0.0010 after the cut, so the cut lost it"),
        (cut(0.5, None), "had 0.5000 after the cut, so a step after it lost it"),
        (cut(None, None), "no measurement between the two tells where it was lost"),
        (None, "no measurement between the two tells where it was lost"),
    ],
)
@pytest.mark.parametrize("precision", ["fp16", "int8", "fp32"])
def test_a_collapse_is_blamed_on_the_step_that_the_measurements_show(
    pruning: Pruning | None, told: str, precision: str
) -> None:
    rows = [row("pruned", precision, None, drop=0.598, target="jetson")]
    assert (
        told
        in only([one for one in warned(rows, {}, pruning=pruning) if one.code == "accuracy_collapse"]).text
    )


def test_half_precision_is_blamed_where_the_same_network_keeps_it_in_fp32() -> None:
    rows = [row("pruned", "fp32", 14, drop=0.01), row("pruned", "fp16", 6, drop=0.598)]
    text = only(warned(rows, {}, pruning=cut(0.001, 0.004))).text
    assert "pruned fp32 has" in text and "the step to fp16 lost it" in text


def test_a_classifier_collapses_to_chance_not_to_zero() -> None:
    rows = four()

    def rated(classes: int) -> list[Row]:
        ground: dict[str, Any] = {"metric": "top-1", "split": "val", "images": 9, "chance": 1 / classes}
        low, high = (Accuracy(score=score, drop=0.9 - score, **ground) for score in (0.11, 0.9))
        return [
            entry.model_copy(update={"val": low if entry.precision == "int8" else high}) for entry in rows
        ]

    assert [warning.code for warning in warned(rated(10))] == ["accuracy_collapse"] * 2
    assert warned(rated(1000)) == []  # a tenth of .9 is left of a thousand classes


def test_a_model_that_finds_nothing_in_float_has_nothing_to_lose() -> None:
    empty = Accuracy(metric="mAP50-95", split="val", images=9, score=0.0, drop=0.0)
    assert warned([entry.model_copy(update={"val": empty}) for entry in four()]) == []


@pytest.mark.parametrize(("ops", "codes"), [(0, 1), (20, 1), (60, 0), (None, 0)])
def test_int8_in_name_only(ops: int | None, codes: int) -> None:
    rows = four()
    rows[1] = row("original", "int8", 10, quantized_ops=ops, convolutions=64)
    results = steady(rows)
    if ops == 0:  # the run is flagged as well; one warning is enough
        results[rows[1].label] = result(rows[1], [10.0] * 5, precision_actual="fp32")
    found = warned(rows, results)
    assert [warning.code for warning in found] == ["no_effect"] * codes
    assert all(f"{ops} of 64 convolutions run in integers" in warning.text for warning in found)


def test_a_file_that_did_not_change_had_no_effect() -> None:
    rows = four()
    rows[1] = rows[1].model_copy(update={"sha256": "x"})
    rows[0] = rows[0].model_copy(update={"sha256": "x"})
    rows[2] = rows[2].model_copy(update={"sha256": "x"})
    found = warned(rows)
    assert [(warning.code, warning.rows[0]) for warning in found] == [
        ("no_effect", "x86-ort original int8"),
        ("no_effect", "x86-ort pruned fp32"),
    ]


def test_float_rows_may_share_a_file() -> None:
    rows = [row("original", precision, 10.0, sha256="x") for precision in ("fp32", "bf16")]
    assert warned(rows) == []


def test_half_precision_that_ran_as_fp32_had_no_effect_and_is_told_once() -> None:
    rows = [row("original", "fp32", 20.0), row("original", "bf16", 20.0)]
    results = steady(rows) | {rows[1].label: result(rows[1], [20.0] * 5, precision_actual="fp32")}
    warning = only(warned(rows, results))
    assert warning.code == "no_effect" and "asked for bf16 and ran in fp32" in warning.text


def test_fallbacks_of_provider_and_precision_are_lifted() -> None:
    rows = [row("original", "fp32", 20.0)]
    results = {
        rows[0].label: result(
            rows[0], [20.0] * 5, provider_requested="CUDAExecutionProvider", precision_actual="bf16"
        )
    }
    found = warned(rows, results)
    assert [warning.code for warning in found] == ["fallback", "fallback"]
    assert "asked for provider CUDAExecutionProvider and ran on CPU" in found[0].text
    assert "asked for precision fp32 and ran on bf16" in found[1].text


def test_threads_that_did_not_come_had_no_effect() -> None:
    rows = [row("original", "fp32", 20.0)]
    warning = only(warned(rows, {rows[0].label: result(rows[0], [20.0] * 5, threads=4)}))
    assert "ran on 4 threads, asked for were 1" in warning.text


def test_pruning_that_removed_nothing() -> None:
    pruning = Pruning(
        criterion="l1", goal="ratio 0.1", ratio=0.1, step=32, params_before=9, params_after=9,
        macs_before=9, macs_after=9,
    )  # fmt: skip
    warning = only(warned(four(), pruning=pruning))
    assert "removed nothing: 9 parameters before, 9 after" in warning.text and "step of 32" in warning.advice
    swapped = (PassReport(name="activation", applied=("SiLU to relu in 9 layers",)),)
    for change in ({"params_after": 8}, {"macs_after": 8}, {"passes": swapped}):
        assert warned(four(), pruning=pruning.model_copy(update=change)) == []


def test_what_the_machine_did_is_one_warning_a_flag() -> None:
    rows = four()
    hot = Flag(code="throttled", severity="invalid", evidence="the cores were throttled for heat 3 times")
    noisy = Flag(code="noisy", severity="warning", evidence="-")
    results = {entry.label: result(entry, [entry.p50_ms or 0] * 5, (hot, noisy)) for entry in rows}
    warning = only(warned(rows, results))
    assert warning.code == "unfit_run" and len(warning.rows) == 4
    assert "4 rows were measured in a run flagged throttled" in warning.text and "3 times" in warning.text
    assert warning.advice.startswith("Cool this machine or lower its clock")


def test_the_device_that_has_to_be_calm_is_named() -> None:
    rows = four()
    busy = Flag(code="contended", severity="invalid", evidence="others took 12 % of the time")
    device = {"device": "ssh://pi@bench"}
    measured = {entry.label: result(entry, [entry.p50_ms or 0] * 5, (busy,)) for entry in rows}
    there = {label: one.model_copy(update=device) for label, one in measured.items()}
    assert only(warned(rows, there)).advice == "Stop what else runs on ssh://pi@bench, and measure again."


def test_a_warning_is_read_back_from_the_summary() -> None:
    rows = four(fp32=20, int8=30)
    summary = built(rows)
    told = summary.model_copy(update={"warnings": warnings(summary, steady(rows))})
    again = Summary.model_validate_json(told.model_dump_json())
    assert again.warnings == told.warnings and again.warnings[0].code in CHECKS


def chosen_with(drop: float, high: float, **budget: Any) -> Summary:
    rows = four()
    val = rows[3].val
    assert val is not None
    rated = val.model_copy(update={"drop": drop, "drop_interval": (-0.01, high), "images": 73})
    rows[3] = rows[3].model_copy(update={"val": rated})
    summary = built(rows)
    (entry,) = summary.targets.values()
    targets = {rows[3].target: entry.model_copy(update={"chosen": rows[3]})}
    return summary.model_copy(update={"targets": targets, "budget": {"max_drop": 0.01} | budget})


def test_images_that_cannot_tell_the_budget_are_told_with_how_many_would() -> None:
    (told,) = CHECKS["few_images"](chosen_with(0.005, 0.02), {})
    assert told.rows == ("x86-ort pruned int8",)
    assert told.text == (
        "x86-ort pruned int8 drops by 0.0050 [-0.0100, 0.0200] in mAP50-95: the 73 images of val do not tell "
        "whether that is within 0.01; about 660 would, if the drop stays as it is."
    )


@pytest.mark.parametrize(
    ("drop", "high", "budget"),
    [
        (0.005, 0.0099, {}),
        (0.005, 0.02, {"max_drop": None}),
        (0.012, 0.02, {}),
        (0.005, 0.02, {"max_drop": 1.0}),
    ],
)
def test_images_that_tell_the_budget_or_a_row_outside_it_give_no_warning(
    drop: float, high: float, budget: dict[str, Any]
) -> None:
    assert not list(CHECKS["few_images"](chosen_with(drop, high, **budget), {}))


def test_no_number_of_images_is_named_for_a_drop_that_is_right_at_the_budget() -> None:
    (told,) = CHECKS["few_images"](chosen_with(0.01, 0.02), {})
    assert told.text.endswith("whether that is within 0.01.")
