"""The rooms of the package, from the top down: the one table of what may import what.

A room reads itself and the rooms below it. `python tests/rooms.py` prints the table that CONTRIBUTING.md
shows.
"""

from __future__ import annotations

ROOMS = {
    "__main__": "the `edgeprune` command",
    "cli": "click only: parse, one call, print; one file a command",
    "report": "tables, pages, charts and the formats of the gate's verdict, all from the same results",
    "search": "`search`: the shared study, one trial, its Pareto set; `sweep`: strength of sparse training",
    "pipeline": "`build`: the stages in order, each with its cache key; rows, verdict, warnings",
    "explain": "`explain`: the speed-up taken apart, the most expensive layers, why they are slow",
    "verify": "`doctor`: what works here; whether a device computes what this machine computes",
    "latency": "what a layer costs at each width on the target, and widths chosen by it",
    "history": "results by commit in a database: entries, change points",
    "gate": "`check`: pairs, the sequential test, budgets, A/A runs",
    "adapters": "one folder a kind of model: load, prune, train, export, evaluate",
    "bench": "the host's side of measuring: jobs, protocol, flags, speed-ups by turns",
    "prune": "groups, criteria, widths on the channel step, surgery",
    "quantize": "one module a quantizer, one table of schemes; calibration",
    "export": "torch -> ONNX, checked against torch; preprocessing and NMS inside a graph",
    "worker": "all that travels to a device: workers, scenarios, sensors",
    "backends": "one file a runtime: compile, load, version, what really ran",
    "converters": "converters in virtual environments of their own",
    "runners": "one file a way to reach a device",
    "models": "the seam of a kind of model, its registry; a `.pt` read as records (`checkpoint/`)",
    "records": "every document that is written and read again",
    "images": "data sets as ultralytics reads them; image -> input, output -> detections",
    "config": "recipe, target profiles, the bounds of every number",
    "__init__": "the version",
    "core": "artifacts and the store of stages, files, documents, processes, errors",
}


def allowed(room: str) -> set[str]:
    """Return the rooms that a room may import from."""
    names = list(ROOMS)
    return set(names[names.index(room) :])


def table() -> str:
    """Return the rooms as a Markdown table, from the top down."""
    rows = (f"| `{name}` | {subject} |" for name, subject in ROOMS.items() if not name.startswith("__"))
    return "\n".join(("| room | subject |", "|---|---|", *rows))


if __name__ == "__main__":
    print(table())
