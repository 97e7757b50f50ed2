"""Where the time of a finished build goes: by operator, size of feature map, and the most expensive layers.

    python -m benchmarks.attribution --build build
    python -m benchmarks.attribution --build build --row "x86-openvino pruned int8"

The runtime's own counters tell, on real photographs, in a process and an environment like those that the row
was measured in. Counting costs time itself: what the engine takes without, in turns with it, is told as well.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.bench.effort import Effort
from edgeprune.bench.node_times import NodeTime, NodeTimes, node_times
from edgeprune.bench.subject import Subject, plain_input, subjects_of
from edgeprune.bench.testbed import local
from edgeprune.explain.attribution import measured_row
from edgeprune.explain.layer_costs import feature_map
from edgeprune.images.preprocess import Preprocess
from edgeprune.images.size import ImageSize, size_words
from edgeprune.records.summary import Row, load_summary

EFFORT = Effort()
LEAST_INFERENCES = 50
DEAREST = 10
FLAT = "flat"
DECODE = "decode"


@dataclass(frozen=True)
class Node:
    """One node that the runtime ran.

    Attributes:
        kind: a key of `KINDS`, ``decode`` for what works on no feature map, or the operator's own name.
        side: of the feature map that it writes, in pixels; None when that is none.
        channels: it reads and writes; None where it is no feature map.
        ms: median over the inferences.
    """

    name: str
    operator: str
    kind: str
    side: int | None
    channels: tuple[int | None, int | None]
    ms: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one row of a build and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="folder of a finished build")
    parser.add_argument("--row", help="such as 'x86-openvino pruned int8'; by default the chosen one")
    parser.add_argument("--inferences", type=int, default=EFFORT.inferences)
    options = parser.parse_args(arguments)
    if options.inferences < LEAST_INFERENCES:
        parser.error(f"--inferences: {options.inferences} are too few, at least {LEAST_INFERENCES}")
    summary = load_summary(options.build)
    row = measured_row(summary, options.row)
    subject = next(one for one in subjects_of(options.build, row.target) if one.name == row.label)
    spec = plain_input(subject.engine.path)
    answer = timed(subject, spec, summary.threads, options.inferences)
    nodes = [read(node, spec.imgsz) for node in answer.nodes]
    environment = "".join(f", {key}={value}" for key, value in row.environment.items())
    print(
        f"**{row.label}**, {row.runtime} {row.runtime_version}, {size_words(spec.imgsz)}, "
        f"{summary.threads} thread(s)"
        f"{environment}: median of {options.inferences} inferences for each of {len(nodes)} nodes.\n"
    )
    print(by_kind_and_side(nodes))
    print(most_expensive(nodes))
    print(beside(nodes, answer, row))


def timed(subject: Subject, spec: Preprocess, threads: int, inferences: int) -> NodeTimes:
    """Return the times of an engine's nodes, run as the device profile wants it."""
    bed = local(replace(EFFORT, inferences=inferences))
    return node_times(subject.engine, subject.profile, threads, spec, bed, subject.environment)


def read(node: NodeTime, imgsz: ImageSize) -> Node:
    """Return a node with what its shapes say."""
    maps = [
        next((found for shape in shapes if (found := feature_map(shape, imgsz))), None)
        for shapes in (node.inputs, node.outputs)
    ]
    return Node(
        name=node.name,
        operator=" ".join(filter(None, [node.operator, node.kernel])),
        kind=node.kind if maps[1] else DECODE,
        side=maps[1][0] if maps[1] else None,
        channels=(maps[0][1] if maps[0] else None, maps[1][1] if maps[1] else None),
        ms=node.ms,
    )


def by_kind_and_side(nodes: Sequence[Node]) -> str:
    """Return a table of milliseconds: a line a kind of operator, a column a size of the feature map."""
    sides = sorted({node.side for node in nodes if node.side}, reverse=True)
    columns = [*sides, None] if any(node.side is None for node in nodes) else list(sides)
    cells: dict[tuple[str, int | None], float] = defaultdict(float)
    counts = Counter(node.kind for node in nodes)
    for node in nodes:
        cells[node.kind, node.side] += node.ms
    total = sum(node.ms for node in nodes)
    kinds = sorted(counts, key=lambda kind: -sum(cells[kind, side] for side in columns))

    def line(title: str, count: int, values: Sequence[float]) -> str:
        shown = [f"{value:.2f}" if value else "" for value in values]
        return _line(title, count, *shown, f"{sum(values):.2f}", f"{sum(values) / total:.0%}")

    lines = [
        _line("operator (ms)", "nodes", *(f"{side}x{side}" if side else FLAT for side in columns), "all", ""),
        _line("---", *["--:"] * (len(columns) + 3)),
        *(line(kind, counts[kind], [cells[kind, side] for side in columns]) for kind in kinds),
        line("all", len(nodes), [sum(cells[kind, side] for kind in kinds) for side in columns]),
    ]
    return "\n".join(lines) + "\n"


def most_expensive(nodes: Sequence[Node]) -> str:
    """Return a table of the layers that take longest."""
    total = sum(node.ms for node in nodes)
    lines = [_line("layer", "operator", "channels", "map", "ms", ""), _line(*["---"] * 4, "--:", "--:")]
    for node in sorted(nodes, key=lambda node: -node.ms)[:DEAREST]:
        channels = " to ".join("-" if count is None else str(count) for count in node.channels)
        size = f"{node.side}x{node.side}" if node.side else FLAT
        lines.append(
            _line(f"`{node.name}`", node.operator, channels, size, f"{node.ms:.3f}", f"{node.ms / total:.1%}")
        )
    return "\n".join(lines) + "\n"


def beside(nodes: Sequence[Node], answer: NodeTimes, row: Row) -> str:
    """Return the sum over the nodes beside what whole inferences take."""
    total = sum(node.ms for node in nodes)
    return (
        f"The nodes together: {total:.2f} ms. A whole inference in this process: "
        f"{answer.counted_ms:.2f} ms with the counters, {answer.plain_ms:.2f} ms without; "
        f"in the build: {row.p50_ms:.2f} ms at p50. Counters cost time, and the machine may be faster or "
        "slower than when the row was measured: read the shares rather than the milliseconds."
    )


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
