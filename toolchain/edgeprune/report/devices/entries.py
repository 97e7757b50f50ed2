"""What builds and results say of several devices, read once: a line a device and target."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from edgeprune.bench.statistics import achieved_fps, latency_ms
from edgeprune.core.artifact import STAGES, SUMMARY
from edgeprune.core.documents import parse_record
from edgeprune.core.errors import ConfigError, DataError, NotComparableError
from edgeprune.history.commits import Commit
from edgeprune.history.reading import machine_of, read_entries
from edgeprune.images.size import size_words
from edgeprune.pipeline.sanity import UNFIT
from edgeprune.records.bench_result import BenchResult
from edgeprune.records.summary import Row, Summary, TargetSummary
from edgeprune.report.cells import plain
from edgeprune.report.facts import Report, load_report
from edgeprune.report.heading import unfit_by
from edgeprune.report.machine import date_words, device_words
from edgeprune.report.tables import runtimes
from edgeprune.runners.devices import LOCAL

ABSENT = "not there"
_UNTOLD = "not recorded"


@dataclass(frozen=True)
class Figures:
    """The numbers of one variant on one device; None is what was not measured.

    Attributes:
        name: of the row or result, as a history has it.
        sha256: of the engine.
        milli_j: energy of an inference above idle, in millijoules; `rails` says of what.
        unfit: the flags that make the run unfit to be believed; empty for a fit one.
        evidence: a sentence of each such flag, where the result tells.
        row: of the build that measured it; None for a result of `bench`.
    """

    variant: str
    name: str
    sha256: str | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    fps: float | None = None
    peak_mb: float | None = None
    milli_j: float | None = None
    rails: str = ""
    unfit: str = ""
    evidence: tuple[str, ...] = ()
    row: Row | None = None

    @property
    def refused(self) -> tuple[str, ...]:
        """Why its build does not allow it."""
        return self.row.refused if self.row else ()


@dataclass(frozen=True)
class Source:
    """What was handed in: a letter, the path, and what lies there, in words."""

    letter: str
    path: Path
    words: str


@dataclass(frozen=True)
class Subject:
    """What latencies and accuracies are of: only what has the same one is put side by side.

    Attributes:
        key: what tells two of them apart.
    """

    key: str
    title: str


@dataclass(frozen=True)
class DeviceLine:
    """One target on one device, of one source.

    Attributes:
        number: from 1, in the order of the page.
        device: the machine in words; for one that was not there, what stands for it.
        machine: as the history writes it; None where nothing was measured.
        runs: target, runtime and scenario in words.
        shipped: the variant that its build chose on this target.
        verdict: the build's sentence on this target.
        split: that the rows report.
    """

    number: int
    source: Source
    subject: Subject
    device: str
    machine: str | None
    runs: str
    figures: tuple[Figures, ...]
    shipped: str | None = None
    verdict: str = ""
    split: str = ""

    def of(self, variant: str) -> Figures | None:
        """Return the figures of a variant, None where this line has none."""
        return next((one for one in self.figures if one.variant == variant), None)


UNKNOWN = Subject("", "Engines of no build that is given")


def load_lines(paths: Sequence[Path]) -> tuple[DeviceLine, ...]:
    """Read builds and results, grouped by what they are of, in the order given.

    A result of `bench` whose engine a given build holds stands with that build, under its variant.

    Raises:
        ConfigError: a path, or a copy of a build, is given twice.
        NotComparableError: neither a finished build nor a result lies at a path.
        DataError: a result is damaged.
    """
    _require_once(paths)
    built: list[DeviceLine] = []
    seen: dict[str, Path] = {}
    benched: list[tuple[int, str, BenchResult]] = []
    for index, path in enumerate(paths):
        letter = _letter(index)
        if (path / SUMMARY).is_file():
            report = load_report(path)
            if (other := seen.setdefault(report.summary.model_dump_json(), path)) is not path:
                raise ConfigError(f"{path}: it is the same build as {other}; leave one out")
            built += _of_build(letter, report)
        else:
            benched += [(index, letter, result) for result in _results(path)]
    lines = [*built, *_of_results(paths, benched, _known(built))]
    order = {line.subject.key: place for place, line in reversed(list(enumerate(lines)))}
    lines.sort(key=lambda line: order[line.subject.key])
    return tuple(replace(line, number=number) for number, line in enumerate(lines, start=1))


def _require_once(paths: Sequence[Path]) -> None:
    seen: dict[Path, Path] = {}
    for path in paths:
        place = path.absolute() if path.is_symlink() and not path.exists() else path.resolve()
        if place in seen:
            raise ConfigError(f"{path}: it is given twice, also as {seen[place]}; leave one out")
        seen[place] = path


def _letter(index: int) -> str:
    first, rest = divmod(index, len(ascii_uppercase))
    return (ascii_uppercase[first - 1] if first else "") + ascii_uppercase[rest]


def _of_build(letter: str, report: Report) -> Iterator[DeviceLine]:
    summary = report.summary
    source = Source(letter, report.folder, f"build of {date_words(summary.created_utc)}")
    for name, target in summary.targets.items():
        results = [report.benches[row.label] for row in target.rows if row.label in report.benches]
        measured = any(row.p50_ms is not None for row in target.rows)
        yield DeviceLine(
            number=0,
            source=source,
            subject=_subject(summary),
            device=_device(results, summary) if measured else f"{name}: {ABSENT}",
            machine=machine_of(results[0]) if results else None,
            runs=", ".join(filter(None, (plain(name), runtimes(target), _threads(summary.threads)))),
            figures=tuple(_of_row(row, report.benches.get(row.label)) for row in target.rows),
            shipped=_variant(target.chosen) if target.chosen else None,
            verdict=_verdict(summary, target),
            split=summary.split,
        )


def _device(results: Sequence[BenchResult], summary: Summary) -> str:
    """Name the machine that measured; where its results do not tell, it is that of the build."""
    words = _machine_words(results[0]) if results else ""
    return words or device_words(summary.environment) or _UNTOLD


def _machine_words(result: BenchResult) -> str:
    """Name the machine of a result and how it was reached; empty where it tells neither."""
    reached = "" if result.device in (None, LOCAL) else plain(result.device)
    return ", ".join(filter(None, (device_words(result.env_before), reached)))


def _verdict(summary: Summary, target: TargetSummary) -> str:
    missed = summary.nearest_miss if target.chosen is None and summary.chosen is None else None
    return f"{target.verdict} Nearest miss: {missed}" if missed else target.verdict


def _subject(summary: Summary) -> Subject:
    """Return what a build is of: its model, its data as far as a summary tells, and the form of its input."""
    model, data = summary.model, summary.data
    name = plain(model.get("name")) or Path(plain(model.get("path")) or "model").name
    where = Path(plain(data.get("path") or data.get("yaml")) or "data")
    calibration = summary.calibration
    drawn = (
        calibration.model_dump(include={"images", "seed", "split", "images_sha256"}) if calibration else {}
    )
    told = {
        "model": model.get("sha256") or model,
        "classes": data.get("names"),
        "images": data.get("images"),
        "drawn": drawn if drawn.get("images_sha256") else [drawn, str(where)],
        "input": [summary.imgsz, summary.batch],
        "splits": [summary.split, summary.selection_split],
    }
    counted = data.get("images")
    count = counted.get(summary.split) if isinstance(counted, Mapping) else None
    size = size_words(summary.imgsz) + (f", batches of {summary.batch}" if summary.batch > 1 else "")
    of = f"{count} images of {plain(summary.split)}" if isinstance(count, int) else plain(summary.split)
    return Subject(
        json.dumps(told, sort_keys=True, default=str),
        f"{name} on {where.parent.name or where.name}: {of}, {size}",
    )


def _variant(row: Row) -> str:
    return plain(f"{row.name} {row.precision}")


def _of_row(row: Row, result: BenchResult | None) -> Figures:
    return replace(
        _energy(Figures(_variant(row), row.label), result),
        sha256=row.sha256,
        p50_ms=row.p50_ms,
        p90_ms=row.p90_ms,
        fps=row.fps,
        peak_mb=row.peak_mb,
        unfit=unfit_by(row),
        evidence=_evidence(result, unfit_by(row).split(", ")),
        row=row,
    )


def _energy(figures: Figures, result: BenchResult | None) -> Figures:
    energy = result.energy if result else None
    if energy is None:
        return figures
    rails = plain(f"{energy.source} {', '.join(energy.rails)}")
    return replace(figures, milli_j=1e3 * energy.j_per_inf, rails=rails)


def _evidence(result: BenchResult | None, codes: Sequence[str]) -> tuple[str, ...]:
    flags = result.flags if result else ()
    return tuple(plain(f"{flag.code}: {flag.evidence}") for flag in flags if flag.code in codes)


def _results(path: Path) -> list[BenchResult]:
    """Read the results of `bench` at a path.

    Raises:
        NotComparableError: nothing is there, or nothing that could be one.
        DataError: a file is none, or damaged.
    """
    if (path / STAGES).is_dir():
        raise NotComparableError(f"{path}: its build has not finished; the same command goes on with it")
    if not path.exists() or (path.is_dir() and not any((*path.glob("*.json"), *path.glob("*/*.json")))):
        raise NotComparableError(f"{path}: neither a finished build nor a result of bench is here")
    entries = [entry for entry in read_entries(path, Commit()) if entry.kind == "bench"]
    if not entries:
        raise DataError(f"{path}: it holds results of check; a report of devices is of bench and build")
    return [parse_record(BenchResult, entry.document, str(path), DataError) for entry in entries]


def _known(lines: Iterable[DeviceLine]) -> dict[str, tuple[Subject, str]]:
    """Return what each engine of the builds is: of which subject, and which variant."""
    return {one.sha256: (line.subject, one.variant) for line in lines for one in line.figures if one.sha256}


def _of_results(
    paths: Sequence[Path],
    found: Sequence[tuple[int, str, BenchResult]],
    known: Mapping[str, tuple[Subject, str]],
) -> Iterator[DeviceLine]:
    lines: dict[tuple[Any, ...], DeviceLine] = {}
    for index, letter, result in found:
        subject, variant = known.get(result.artifact.sha256 or "", (UNKNOWN, plain(result.name)))
        source = Source(letter, paths[index], f"results of {date_words(result.started_utc)}")
        runs = _runs(result)
        key = (letter, subject.key, _machine_words(result), runs)
        line = lines.get(key) or DeviceLine(
            0, source, subject, _machine_words(result) or _UNTOLD, machine_of(result), runs, ()
        )
        while line.of(variant):  # two runs of one engine: both are shown
            variant += " again"
        lines[key] = replace(line, figures=(*line.figures, _of_result(variant, result)))
    yield from lines.values()


def _runs(result: BenchResult) -> str:
    """Say what ran and how; of one image after the other nothing is said."""
    scenario, threads = result.scenario, result.backend.threads
    parts = [
        " ".join(filter(None, (result.backend.name, result.backend.version))) or "runtime not recorded",
        None if scenario.name in (None, "single_stream") else scenario.name,
        f"{scenario.in_flight} in flight" if scenario.in_flight > 1 else None,
        f"batches of {scenario.batch}" if scenario.batch > 1 else None,
        _threads(threads),
        f"replayed, recorded {date_words(result.replayed)}" if result.replayed else None,
    ]
    return plain(", ".join(filter(None, parts)))


def _threads(count: int | None) -> str:
    return f"{count} threads" if count and count > 1 else ""


def _of_result(variant: str, result: BenchResult) -> Figures:
    timed = any(block.samples_ns for block in result.blocks)
    latency = latency_ms(result) if timed else None
    unfit = [flag.code for flag in result.flags if flag.severity == "invalid" or flag.code in UNFIT]
    return replace(
        _energy(Figures(variant, result.name), result),
        sha256=result.artifact.sha256,
        p50_ms=latency.p50 if latency else None,
        p90_ms=latency.p90 if latency else None,
        fps=achieved_fps(result.blocks, result.scenario.batch) if timed else None,
        peak_mb=result.memory.peak_hwm if result.memory else None,
        unfit=", ".join(dict.fromkeys(unfit)),
        evidence=_evidence(result, unfit),
    )
