"""Sanity verdicts: what is wrong with a finished build although every stage of it succeeded.

One function a code in one literal table. Each reads the summary and the measurements behind it, and tells of
numbers that were measured; what was not measured gives no warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from edgeprune.bench.side_by_side import speedup
from edgeprune.pipeline.verdict import AS_FAST, fastest
from edgeprune.records.bench_result import BenchResult
from edgeprune.records.facts import RuntimeFacts
from edgeprune.records.pruning import Pruning
from edgeprune.records.resampling.interval import images_needed
from edgeprune.records.speedup import Speedup
from edgeprune.records.summary import Row, SanityWarning, Summary, WarningCode
from edgeprune.runners.devices import LOCAL

Results = Mapping[str, BenchResult]
"""The measurement of each row, by its label."""

UNBOUNDED = 1.10
"""Of too few turns for an interval the noise is unknown: less than this is not called slower."""
COLLAPSED = 0.1
"""The accuracy is lost almost entirely when less than this share of the float twin's is left."""
LEAST_SCORE = 0.01
"""A model that finds next to nothing has no accuracy that could collapse."""
FEW_INTEGERS = 0.5
"""int8 in name only: a smaller share than this of the convolutions runs in integers."""
HALVES = frozenset({"fp16", "bf16"})
FLOATS = ("fp32", "bf16", "fp16")

UNFIT: dict[str, str] = {
    "output_mismatch": "The engine computed something else when it was timed than when its accuracy was "
    "measured: look at the versions of the runtime and the environment of the row.",
    "throttled": "Cool {device} or lower its clock, and measure again.",
    "contended": "Stop what else runs on {device}, and measure again.",
    "swap": "Free memory on {device}, and measure again.",
    "drift": "Let {device} reach its steady temperature, and measure again.",
}
"""What to do about the flags that make a measurement unfit to be believed, on the device that it was on."""


def warnings(summary: Summary, results: Results) -> tuple[SanityWarning, ...]:
    """Return every warning that the rows of a build give rise to, in the order of `CHECKS`."""
    return tuple(warning for check in CHECKS.values() for warning in check(summary, results))


def int8_slower(summary: Summary, results: Results) -> Iterator[SanityWarning]:
    """Yield the int8 rows that are slower than the fastest float row of the same model and runtime."""
    for row in summary.rows():
        floats = [other for other in _alike(summary, row) if other.precision in FLOATS and other.p50_ms]
        rival = fastest(floats)
        if row.precision == "int8" and rival and (ratio := _slower(row, rival, results)):
            ops = "" if row.quantized_ops is None else f"; {row.quantized_ops} convolutions run in integers"
            yield SanityWarning(
                code="int8_slower",
                rows=(row.label, rival.label),
                text=f"{_against(row, rival)}, {_beyond(ratio)}{ops}.",
                advice=f"Ship {rival.precision}; `edgeprune explain` lists the layers that int8 made slow.",
            )


def accuracy_collapse(summary: Summary, results: Results) -> Iterator[SanityWarning]:
    """Yield the rows that lost the accuracy of their float twin almost entirely, above that of chance."""
    for row in summary.rows():
        twin, chance = _float_twin(summary, row), row.val.chance if row.val else 0.0
        if row.val is None or twin is None or twin[1] - chance < LEAST_SCORE:
            continue
        name, score = twin
        if row.val.score - chance < COLLAPSED * (score - chance):
            least = chance + COLLAPSED * (score - chance)
            cause, advice = _lost_by(row, name, least, summary.targets[row.target].pruning)
            yield SanityWarning(
                code="accuracy_collapse",
                rows=(row.label,),
                text=f"{row.label} has {row.val.metric} {row.val.score:.4f} on {row.val.split} "
                f"where {name} has {score:.4f}: {cause}.",
                advice=advice,
            )


def _lost_by(row: Row, twin: str, least: float, pruning: Pruning | None) -> tuple[str, str]:
    """Tell at which step a row's accuracy was lost, by what was measured before and after it, and what to do.

    Args:
        twin: what the row is held against.
        least: score that is no collapse.
    """
    float_row = "Ship the float row, or calibrate on more images of the task and measure again."
    if twin.startswith(f"{row.name} "):  # the same network: only the precision differs
        return f"the same network keeps it, so the step to {row.precision} lost it", (
            float_row if row.precision == "int8" else "Ship a wider precision of this network."
        )
    cut = pruning.score_after_surgery if pruning else None
    trained = pruning.score_after_recovery if pruning else None
    score = cut if trained is None else trained
    if row.variant != "pruned" or score is None:
        return "no measurement between the two tells where it was lost", (
            "Add fp32 to the target's precisions, and build again."
        )
    last = "the cut" if trained is None else "recovery"
    if score < least:
        before = "" if cut is None or trained is None else f" ({cut:.4f} before it)"
        return f"the pruned network had {score:.4f} after {last}{before}, so the cut lost it", (
            "Prune less (--ratio), or train longer (--epochs)."
        )
    return f"the pruned network had {score:.4f} after {last}, so a step after it lost it", (
        "Compare the outputs of the checkpoint and of this file on one image."
    )


def no_effect(summary: Summary, results: Results) -> Iterator[SanityWarning]:
    """Yield what was asked for and changed nothing: int8, half precision, pruning, threads."""
    for row in summary.rows():
        backend = _ran(row, results)
        found = [*_integers(row), *_same_file(summary, row), *_halves(row, backend)]
        threads = backend.threads
        if threads not in (None, summary.threads):
            found.append(
                (
                    f"{row.label} ran on {threads} threads, asked for were {summary.threads}",
                    f"Its latency is that of {threads} threads: give --threads {threads} to compare alike.",
                )
            )
        for text, advice in found:
            yield SanityWarning(code="no_effect", rows=(row.label,), text=f"{text}.", advice=advice)
    for target, entry in summary.targets.items():
        pruning = entry.pruning
        if pruning and _left_as_it_was(pruning):
            yield SanityWarning(
                code="no_effect",
                rows=tuple(row.label for row in entry.rows if row.variant == "pruned"),
                text=f"Pruning for {target} ({pruning.goal}) removed nothing: "
                f"{pruning.params_before} parameters before, {pruning.params_after} after.",
                advice=f"Prune more (--ratio): widths change by the step of {pruning.step} channels.",
            )


def _left_as_it_was(pruning: Pruning) -> bool:
    """Whether nothing was removed: no channel, no work of a smaller input, nothing that a pass changed."""
    fewer = pruning.params_after < pruning.params_before or pruning.macs_after < pruning.macs_before
    return not fewer and not any(one.applied for one in pruning.passes)


def fallback(summary: Summary, results: Results) -> Iterator[SanityWarning]:
    """Yield the rows that ran on another provider, or in another precision, than was asked for.

    A reduced precision that ran as fp32 is no fallback of its own: `no_effect` tells it.
    """
    for row in summary.rows():
        backend = _ran(row, results)
        pairs = {
            "provider": (backend.provider_requested, backend.provider_actual),
            "precision": (backend.precision_requested, backend.precision_actual),
        }
        for what, (asked, came) in pairs.items():
            told = what == "precision" and (asked == "int8" or _ran_as_fp32(backend))
            if asked != came and not told:
                yield SanityWarning(
                    code="fallback",
                    rows=(row.label,),
                    text=f"{row.label} asked for {what} {asked} and ran on {came}.",
                    advice=f"Its latency is not that of {asked}: `edgeprune doctor` tells what works here.",
                )
        if partly := _left_to_others(row, backend):
            yield partly


def _left_to_others(row: Row, backend: RuntimeFacts) -> SanityWarning | None:
    """Return the warning of a row whose provider left layers to another one, such as DLA's to the GPU."""
    asked, nodes = backend.provider_requested, backend.provider_nodes or {}
    others = {name: count for name, count in nodes.items() if name != asked and count}
    if asked not in nodes or not others:
        return None
    kinds = ", ".join(f"{kind} {count}" for kind, count in (backend.left or {}).items())
    rest = " and ".join(f"{count} on {name}" for name, count in others.items())
    return SanityWarning(
        code="fallback",
        rows=(row.label,),
        text=f"{row.label} runs {nodes[asked]} of {sum(nodes.values())} layers on {asked}, {rest}"
        f"{f' ({kinds})' if kinds else ''}.",
        advice=f"Each change between them copies data; a network without those kinds stays on {asked}.",
    )


def pruned_slower(summary: Summary, results: Results) -> Iterator[SanityWarning]:
    """Yield the pruned rows that are slower than the original in the same runtime and precision."""
    for row in summary.rows():
        original = next(
            (
                other
                for other in summary.targets[row.target].rows
                if (other.variant, other.precision) == ("original", row.precision)
            ),
            None,
        )
        if row.variant == "pruned" and original and (ratio := _slower(row, original, results)):
            yield SanityWarning(
                code="pruned_slower",
                rows=(row.label, original.label),
                text=f"{_against(row, original)}, {_beyond(ratio)}.",
                advice="Prune to a latency (--target-latency), which measures what each width costs here; "
                "`edgeprune explain` lists the layers.",
            )


def unfit_run(summary: Summary, results: Results) -> Iterator[SanityWarning]:
    """Yield what the machine did to the measurements, one warning a flag that makes them unfit."""
    for code, advice in UNFIT.items():
        flagged = [
            (label, flag.evidence, result.device)
            for label, result in results.items()
            for flag in result.flags
            if flag.code == code
        ]
        if flagged:
            devices = dict.fromkeys(_named(device) for *_, device in flagged)
            count = "1 row was" if len(flagged) == 1 else f"{len(flagged)} rows were"
            yield SanityWarning(
                code="unfit_run",
                rows=tuple(label for label, *_ in flagged),
                text=f"{count} measured in a run flagged {code} ({flagged[0][0]}: {flagged[0][1]}).",
                advice=advice.format(device=" and ".join(devices)),
            )


def _named(device: str | None) -> str:
    return "this machine" if device is None or device == LOCAL else device


def few_images(summary: Summary, results: Results) -> Iterator[SanityWarning]:
    """Yield the chosen rows whose images do not tell whether their drop is within the budget.

    Their interval reaches beyond the budget, though the drop itself does not.
    """
    allowed = summary.budget.get("max_drop")
    chosen = {row.label: row for row in (entry.chosen for entry in summary.targets.values()) if row}
    for row in chosen.values():
        val = row.val
        if allowed is None or val is None or val.drop is None or val.drop_interval is None:
            continue
        high = val.drop_interval[1]
        if high <= allowed or val.drop > allowed:
            continue
        more = ""
        if val.drop < allowed:
            count = images_needed(val.images, high - val.drop, allowed - val.drop)
            more = f"; about {count:,} would, if the drop stays as it is"
        yield SanityWarning(
            code="few_images",
            rows=(row.label,),
            text=f"{row.label} drops by {val.drop_words} in {val.metric}: the {val.images} images of "
            f"{val.split} do not tell whether that is within {allowed:g}{more}.",
            advice=f"Add images to {val.split}, or take --sure: it chooses a row that keeps to the budget "
            "with its whole interval.",
        )


CHECKS: dict[WarningCode, Callable[[Summary, Results], Iterator[SanityWarning]]] = {
    "int8_slower": int8_slower,
    "accuracy_collapse": accuracy_collapse,
    "no_effect": no_effect,
    "fallback": fallback,
    "pruned_slower": pruned_slower,
    "unfit_run": unfit_run,
    "few_images": few_images,
}


def _alike(summary: Summary, row: Row) -> list[Row]:
    """Return the rows of the same model in the same runtime: they differ in precision only."""
    return [other for other in summary.targets[row.target].rows if other.name == row.name]


def _slower(row: Row, rival: Row, results: Results) -> Speedup | None:
    """Return how much slower a row is than its rival, or None where that is within the noise."""
    if row.label not in results or rival.label not in results:
        return None
    ratio = speedup(results[row.label], results[rival.label])
    if ratio is None or not ratio.proven or ratio.times < (UNBOUNDED if ratio.low is None else AS_FAST):
        return None
    return ratio


def _against(row: Row, rival: Row) -> str:
    name = f"{rival.name} {rival.precision}"
    return f"{row.label} takes {row.p50_ms:.2f} ms against {rival.p50_ms:.2f} ms of {name}"


def _beyond(ratio: Speedup) -> str:
    turns = "1 pair" if ratio.turns == 1 else f"{ratio.turns} pairs"
    told = f"{ratio.times:.2f}x" if ratio.low is None else f"{ratio.times:.2f}x ({ratio.interval})"
    return f"{told} as long in {turns} of turns"


def _float_twin(summary: Summary, row: Row) -> tuple[str, float] | None:
    """Return name and score of what a row's accuracy is held against.

    That is the same model in a wider float precision, or, where no row has it, the original in fp32.
    """
    wider = FLOATS[: FLOATS.index(row.precision)] if row.precision in FLOATS else FLOATS
    for precision in wider:
        for other in _alike(summary, row):
            if other.precision == precision and other.val:
                return f"{other.name} {other.precision}", other.val.score
    if row.val is None or row.val.drop is None:
        return None
    return "the original in fp32", row.val.score + row.val.drop


def _integers(row: Row) -> Iterable[tuple[str, str]]:
    ops, convolutions = row.quantized_ops, row.convolutions
    if row.precision != "int8" or ops is None:
        return
    if ops == 0 or (convolutions and ops < FEW_INTEGERS * convolutions):
        of = f"{ops} of {convolutions} convolutions run" if convolutions else f"{ops} convolutions run"
        yield (
            f"{row.label} is int8 in name only: {of} in integers",
            "Look at the scheme that the target's profile names, and at what is kept in float.",
        )


def _same_file(summary: Summary, row: Row) -> Iterable[tuple[str, str]]:
    """Yield when the file of a quantized or pruned row is, byte for byte, that of the row it came from."""
    rows = summary.targets[row.target].rows
    same = {other.label: other for other in rows if other.sha256 == row.sha256 and other.label != row.label}
    for other in same.values():
        if row.precision == "int8" != other.precision and other.name == row.name:
            yield f"{row.label} is the same file as {other.label}", "Nothing was quantized: see the log."
        if (row.variant, other.variant, row.precision) == ("pruned", "original", other.precision):
            yield (
                f"{row.label} is the same file as {other.label}",
                "Nothing was pruned: prune more (--ratio).",
            )


def _halves(row: Row, backend: RuntimeFacts) -> Iterable[tuple[str, str]]:
    if _ran_as_fp32(backend):
        yield (
            f"{row.label} asked for {backend.precision_requested} and ran in fp32",
            "Leave the precision out of the target: it is not what ran.",
        )


def _ran(row: Row, results: Results) -> RuntimeFacts:
    """Return what a row ran on; of one that was not measured nothing is known."""
    return results[row.label].backend if row.label in results else RuntimeFacts()


def _ran_as_fp32(backend: RuntimeFacts) -> bool:
    return backend.precision_requested in HALVES and backend.precision_actual == "fp32"
