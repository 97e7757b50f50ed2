"""`edgeprune profile`: measure a network's layers on the target, find the channel step, make the table.

Everything measured is kept in the user's cache, chunk by chunk, so that a killed run goes on where it was.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgeprune import __version__
from edgeprune.backends import get_backend
from edgeprune.bench.flags import CONTENDED
from edgeprune.bench.jobs import build_job, write_inputs
from edgeprune.bench.stock import stock_images
from edgeprune.bench.testbed import Testbed
from edgeprune.bench.tune import fastest_environment
from edgeprune.core.artifact import Artifact, Store, content_key, keep_path, kept_path, parts_of
from edgeprune.core.documents import read_record
from edgeprune.core.errors import ConfigError, OutputError
from edgeprune.core.files import write_text_atomically
from edgeprune.core.resources import cache_dir
from edgeprune.latency.grids import Axes, axes_of, axes_through, chunks_of, macs
from edgeprune.latency.micronet import Micronet, layer_net
from edgeprune.latency.rounds import at_one_pace, cost, measured_rounds, summary
from edgeprune.latency.shipped import ProfiledNetwork, compile_shipped, cut_widths, key_of
from edgeprune.latency.staircase import STEPS, derive_step, scan_widths
from edgeprune.prune.allocation import on_step
from edgeprune.prune.factorise import rewritable
from edgeprune.prune.layers import deployed_layers
from edgeprune.prune.worth import Single, shapes_to_compare
from edgeprune.records.latency_table import Anchor, Grid, LatencyTable, Scan, Shape, save_table

Notify = Callable[[str, float, str], None]


LEAST = 0.25
"""Share of its channels that every group keeps in the narrowest network that a table is held against."""
DISTURBED = "disturbed.json"
"""Beside the rounds of a chunk that others disturbed twice: the share of a core's time that they took."""


def profile_model(
    subject: ProfiledNetwork,
    testbed: Testbed,
    notify: Notify,
    root: Path | None = None,
    rewrite: Sequence[str] = (),
) -> LatencyTable:
    """Measure every layer shape of a prunable network over its widths; what was measured before is reused.

    Args:
        subject: its model is what `ModelAdapter.prunable` returned.
        root: folder of the cache; the user's by default.
        rewrite: keys of `REWRITES`; what these would make of the network's convolutions is measured as well.

    Raises:
        ConfigError: the target does not run this precision.
        CompileError: the target is not the device, or its runtime cannot use the network.
        DeviceError: a worker crashed, hung or answered with garbage.
        OutputError: the cache cannot be written.
    """
    with _run(subject, testbed, notify, root) as run:
        table = run.table(rewrite)
        save_table(table, table_file(table, root))
    return table


@dataclass(frozen=True)
class MeasuredStep:
    """The channel step of a runtime at a precision, measured on a device.

    Attributes:
        step: in channels; None where no layer of the network is wide enough to scan.
        foreign: as of a `LatencyTable`.
    """

    step: int | None
    foreign: float


def measure_step(
    subject: ProfiledNetwork, testbed: Testbed, notify: Notify, root: Path | None = None
) -> MeasuredStep:
    """Scan the layers that compute most for the channel step; a latency table reuses these scans.

    It raises what `profile_model` does.
    """
    with _run(subject, testbed, notify, root) as run:
        return run.step()


@contextmanager
def _run(subject: ProfiledNetwork, testbed: Testbed, notify: Notify, root: Path | None) -> Iterator[_Run]:
    profile = subject.profile
    if subject.precision not in profile.precisions:
        raise ConfigError(
            f"{profile.name}: precision {subject.precision!r} is not one of {', '.join(profile.precisions)}"
        )
    testbed.require(profile)
    store = Store((root or cache_dir()) / "profiles")
    with store.locked():
        yield _Run(subject, testbed, notify, store)


def table_file(table: LatencyTable, root: Path | None = None) -> Path:
    """Return where a table is kept in the cache: by device, runtime, precision, network and input shape."""
    shape = {"imgsz": table.imgsz} | ({"batch": table.batch} if table.batch > 1 else {})
    key = content_key({"key": table.key.model_dump(), "model": table.model, **shape})
    folder = (root or cache_dir()) / "profiles" / "tables"
    return folder / f"{table.key.runtime}-{table.key.precision}-{key}.json"


def _whole(engine: Path) -> tuple[Path, ...]:
    """Return an engine's folder, or its file with what lies beside it."""
    return (engine,) if engine.is_dir() else parts_of(engine)


class _Run:
    """One profile: its engines, its chunks, its table."""

    def __init__(self, subject: ProfiledNetwork, testbed: Testbed, notify: Notify, store: Store) -> None:
        self.subject, self.testbed, self.notify, self.store = subject, testbed, notify, store
        self.plan = testbed.effort.table
        self.foreign = 0.0
        self.layers, self.original = deployed_layers(subject.adapter, subject.model, subject.imgsz)
        if not self.layers:
            raise ConfigError("this network has no prunable convolution: there is nothing to profile")

    def _whole(self) -> Artifact:
        """Return the engine of the whole network; from now on it is known how all others are run."""
        whole = self._engine("original", {})
        self.key = key_of(self.subject, self._environment(whole), self.testbed)
        return whole

    def step(self) -> MeasuredStep:
        self._whole()
        scanned = self._scans()
        return MeasuredStep(derive_step(scanned) if scanned else None, self.foreign)

    def table(self, rewrite: Sequence[str]) -> LatencyTable:
        whole = self._whole()
        scanned = self._scans()
        # A table without a scan (every layer is narrow) goes by what the profile says.
        step = derive_step(scanned) if scanned else self.subject.profile.channel_step[self.subject.precision]
        narrowed = {
            "half": self._narrowed(0.5, step),
            "least": self._narrowed(LEAST, step),
        }
        kept = {name: keep for name, keep in narrowed.items() if keep}
        if kept.get("half") == kept.get("least"):
            kept.pop("half", None)
        wholes = {"original": whole} | {name: self._engine(name, keep) for name, keep in kept.items()}
        axes = axes_of(self.layers, step, self.plan.axis)
        grids, times, pace = self._grids("measure", axes, wholes)
        # In chunks of their own: what a network is predicted to take is the same with them and without.
        factors = axes_through(self._to_compare(rewrite, step))
        factor_grids, *_ = self._grids("factors", factors, {"original": whole}, pace)
        anchors = [Anchor(keep=kept.get(name, {}), **summary(times[name])) for name in wholes]
        return LatencyTable(
            key=self.key,
            model=self.subject.digest,
            imgsz=self.subject.imgsz,
            batch=self.subject.batch,
            step=step,
            original=self.original,
            layers=self.layers,
            grids=grids,
            scans=scanned,
            factors=factor_grids,
            anchors=tuple(anchors),
            foreign=self.foreign,
        )

    def _narrowed(self, share: float, step: int) -> dict[str, int]:
        """Return the groups that are narrower at a share of their widths, with what they keep."""
        kept = {name: on_step(width * share, step, width) for name, width in self.original.items()}
        return {name: width for name, width in kept.items() if width < self.original[name]}

    def _engine(self, name: str, keep: Mapping[str, int]) -> Artifact:
        subject = self.subject
        inputs: dict[str, Any] = {
            "model": subject.digest,
            "keep": dict(keep),
            "imgsz": subject.imgsz,
            "batch": subject.batch,
            "target": subject.profile.traits,
            "precision": subject.precision,
            "versions": [__version__, get_backend(subject.profile.backend).version()],
        }
        if self.testbed.compiles(subject.profile):
            there = {
                "machine": self.testbed.machine,
                "version": self.testbed.version(subject.profile.backend),
            }
            inputs |= there

        def make(out: Path) -> None:
            self.notify("prepare", 0.0, f"the whole network, {name}")
            model = cut_widths(subject.adapter, subject.model, subject.imgsz, keep) if keep else subject.model
            with tempfile.TemporaryDirectory() as folder:
                engine = compile_shipped(subject, model, Path(folder), self.testbed)
                for part in _whole(engine.path):
                    shutil.move(part, out / part.name)  # /tmp may be another file system
            keep_path(out, engine.path.name)
            self.notify("prepare", 1.0, f"the whole network, {name}")

        place = self.store.stage("engine", inputs, make)
        return Artifact.of(kept_path(place), "engine", subject.precision)

    def _environment(self, whole: Artifact) -> dict[str, str]:
        subject = self.subject
        choices = subject.profile.environments_for(subject.precision)
        if not choices:
            return {}
        key = key_of(subject, {}, self.testbed)
        inputs = {"engine": whole.sha256, "choices": choices, "key": key.model_dump()}

        def make(out: Path) -> None:
            self.notify("tune", 0.0, "environment of the runtime")
            with tempfile.TemporaryDirectory() as folder:
                tensors = write_inputs(stock_images(subject.spec), Path(folder) / "inputs.npy")
                job = build_job(
                    "plain",
                    whole,
                    subject.profile,
                    threads=subject.threads,
                    inputs=tensors,
                    batch=subject.batch,
                )
                best = fastest_environment(job, choices, self.testbed.runner, self.testbed.effort.tuning)
            write_text_atomically(out / "environment.json", json.dumps(best))
            self.notify("tune", 1.0, "environment of the runtime")

        place = self.store.stage("tuned", inputs, make)
        return read_record(dict[str, str], place / "environment.json", OutputError)

    def _scans(self) -> tuple[Scan, ...]:
        """Scan both widths of the shapes that compute most, each at the widths of its widest layer."""
        wanted: list[tuple[Shape, Literal["cin", "cout"], int, tuple[int, ...]]] = []
        dense = [layer for layer in self.layers if layer.shape.groups == "dense"]
        for layer in sorted(dense, key=macs, reverse=True):
            if len({shape for shape, *_ in wanted}) == self.plan.scans:
                break
            if min(layer.cin, layer.cout) >= STEPS[-1] and layer.shape not in {shape for shape, *_ in wanted}:
                wanted.append((layer.shape, "cout", layer.cin, scan_widths(layer.cout)))
                wanted.append((layer.shape, "cin", layer.cout, scan_widths(layer.cin)))
        scans = []
        for index, (shape, axis, other, widths) in enumerate(wanted):
            nets = [
                layer_net(shape, *((other, width) if axis == "cout" else (width, other))) for width in widths
            ]
            times = self._chunk("scan", nets, {}, index / len(wanted), 1 / len(wanted))
            costs = [summary(cost(times, net)) for net in nets]
            scans.append(
                Scan(
                    shape=shape,
                    axis=axis,
                    other=other,
                    widths=widths,
                    ms=tuple(cost["ms"] for cost in costs),
                    iqr_ms=tuple(cost["iqr_ms"] for cost in costs),
                    n=self.plan.rounds,
                )
            )
        return tuple(scans)

    def _to_compare(self, rewrite: Sequence[str], step: int) -> set[Single]:
        subject = self.subject
        candidates = rewritable(subject.model, subject.adapter.unprunable(subject.model)) if rewrite else {}
        return shapes_to_compare(candidates, self.layers, rewrite, step)

    def _grids(
        self, stage: str, axes: Axes, wholes: Mapping[str, Artifact], pace: float | None = None
    ) -> tuple[tuple[Grid, ...], dict[str, list[float]], float]:
        """Measure the grid of every shape, the whole networks in each chunk beside it.

        Args:
            pace: what the original network is taken to take, in ms; by default its median over the chunks.

        Returns:
            The grids, the rounds of the whole networks in ms, and the pace. Chunks are minutes apart: each is
            brought to the pace of all by what the original network took in it.
        """
        nets = {
            shape: [[layer_net(shape, cin, cout) for cout in couts] for cin in cins]
            for shape, (cins, couts) in axes.items()
        }
        chunks = chunks_of({shape: sum(map(len, rows)) for shape, rows in nets.items()}, self.plan.chunk)
        answers = []
        for index, shapes in enumerate(chunks):
            members = [net for shape in shapes for row in nets[shape] for net in row]
            answers.append(self._chunk(stage, members, wholes, index / len(chunks), 1 / len(chunks)))
        paces = [statistics.median(answer["original"]) for answer in answers]
        usual = statistics.median(paces) if pace is None else pace
        grids: list[Grid] = []
        rounds: dict[str, list[float]] = {name: [] for name in wholes}
        for shapes, answer, own in zip(chunks, answers, paces, strict=True):
            times = {name: [ms * usual / own for ms in values] for name, values in answer.items()}
            for name in wholes:
                rounds[name] += times[name]
            for shape in shapes:
                costs = [[summary(cost(times, net)) for net in row] for row in nets[shape]]
                grids.append(
                    Grid(
                        shape=shape,
                        cin=axes[shape][0],
                        cout=axes[shape][1],
                        ms=tuple(tuple(cost["ms"] for cost in row) for row in costs),
                        iqr_ms=tuple(tuple(cost["iqr_ms"] for cost in row) for row in costs),
                        n=self.plan.rounds,
                    )
                )
        return tuple(grids), rounds, usual

    def _chunk(
        self,
        stage: str,
        nets: Sequence[Micronet],
        wholes: Mapping[str, Artifact],
        done: float,
        share: float,
    ) -> dict[str, list[float]]:
        """Return the rounds of each network, in ms, by name: measured now, or read from the cache."""
        members = list(dict.fromkeys([*nets, *(around for net in nets for around in net.around)]))

        def say(part: float) -> None:
            self.notify(stage, done + share * part, f"{len(members)} networks")

        inputs = {
            "nets": [asdict(net) | {"shape": str(net.shape)} for net in members],
            "wholes": {name: engine.sha256 for name, engine in wholes.items()},
            "imgsz": self.subject.imgsz,
            "batch": self.subject.batch,
            "key": self.key.model_dump(),
            "scheme": self.subject.profile.scheme,
            "plan": asdict(self.plan),
            "version": __version__,
        }

        def measured() -> tuple[dict[str, list[float]], float]:
            return measured_rounds(
                members, wholes, self.subject, self.key, self.plan, self.testbed.runner, say
            )

        def make(out: Path) -> None:
            rounds, foreign = measured()
            if foreign > CONTENDED:
                say(0.0)
                rounds, foreign = min((rounds, foreign), measured(), key=lambda answer: answer[1])
            write_text_atomically(out / "rounds.json", json.dumps(rounds))
            if foreign > CONTENDED:
                write_text_atomically(out / DISTURBED, json.dumps(foreign))

        place = self.store.stage(stage, inputs, make)
        say(1.0)
        rounds = read_record(dict[str, list[float]], place / "rounds.json", OutputError)
        if (place / DISTURBED).exists():
            self.foreign = max(self.foreign, read_record(float, place / DISTURBED, OutputError))
            shutil.rmtree(place)  # what others bent is not kept for the next table
        return at_one_pace(rounds)
