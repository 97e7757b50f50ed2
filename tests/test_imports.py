"""The import rules: layers run downwards, heavy things stay where they belong, what travels stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import edgeprune
from edgeprune.core.backend import all_backends
from edgeprune.runners import travel
from rooms import ROOMS, allowed, table

PACKAGE = Path(edgeprune.__file__).parent

TORCH = {"torch", "torchvision", "torch_pruning", "ultralytics", "timm"}
TORCH_HOMES = (
    "adapters",
    "models",
    "prune",
    "export",
    "latency.blocks",
    "latency.shipped",
    "latency.to_latency",
    "search.space",
)
TAKES_TENSORS = "backends.executorch"  # its runtime is called with torch tensors; only in its functions
# Each vendor's SDK, and the modules that may import it inside their functions.
VENDORS = {
    **{backend.MODULE: (f"backends.{backend.name}", "quantize") for backend in all_backends()},
    "onnxruntime": (
        *("backends.onnxruntime", "backends.ort_format", "quantize"),
        *("backends.qnn", "backends.rknn"),  # a provider of it, and the decode behind an NPU
    ),
    "nncf": ("quantize",),
    "tensorrt_rtx": ("backends.rtx",),
    "cuda": ("backends.tensorrt",),
    "pnnx": (),  # only its program is run
    "pynvml": ("worker.sensors.nvidia",),
}
TRAVELS = tuple(
    pattern.removesuffix(".py").removesuffix("/*").removesuffix("/**").replace("/", ".")
    for pattern in travel.TRAVELS
)


@dataclass(frozen=True)
class Import:
    """One import: the full name, its line, and whether it runs when the module is imported."""

    name: str
    line: int
    at_import: bool
    checked_only: bool


def _module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _walk(nodes: list[ast.stmt], at_import: bool, checked_only: bool) -> Iterator[Import]:
    for node in nodes:
        match node:
            case ast.Import():
                for alias in node.names:
                    yield Import(alias.name, node.lineno, at_import, checked_only)
            case ast.ImportFrom():
                assert node.level == 0, f"line {node.lineno}: imports are absolute here"
                for alias in node.names:
                    yield Import(f"{node.module}.{alias.name}", node.lineno, at_import, checked_only)
            case _:
                inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                for field in ("body", "orelse", "finalbody"):
                    guarded = checked_only or (field == "body" and _is_type_checking(node))
                    yield from _walk(getattr(node, field, []), at_import and not inside, guarded)
                for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                    yield from _walk(part.body, at_import, checked_only)


def imports_of(path: Path) -> list[Import]:
    return list(_walk(ast.parse(path.read_text(encoding="utf-8")).body, at_import=True, checked_only=False))


def _inner(found: Import) -> str | None:
    """Return the edgeprune module that is imported, without the package's name, or None."""
    top, _, rest = found.name.partition(".")
    if top != "edgeprune":
        return None
    parts = rest.split(".")
    while parts and not (
        (PACKAGE / Path(*parts)).with_suffix(".py").exists() or (PACKAGE / Path(*parts)).is_dir()
    ):
        parts.pop()  # the name inside the module
    return ".".join(parts) or "__init__"


def _belongs(module: str, homes: tuple[str, ...]) -> bool:
    return any(module == home or module.startswith(f"{home}.") for home in homes)


def _root(found: Import) -> str:
    return found.name.partition(".")[0]


# What `converters/scripts/` holds runs in other environments: scripts that nothing imports, see below.
ELSEWHERE = {"_bundled", "scripts"}
MODULES = {
    _module(path): path for path in sorted(PACKAGE.rglob("*.py")) if not ELSEWHERE.intersection(path.parts)
}
every_module = pytest.mark.parametrize("module", MODULES)


def test_the_walk_sees_every_import(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text(
        "import a\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\nelse:\n    import c\n"
        "try:\n    import d\nexcept ImportError:\n    import e\nfinally:\n    import f\n"
        "class K:\n    import g\n    def m(self):\n        with x:\n            import h\n"
        "async def n():\n    match x:\n        case 1:\n            from i import j\n"
    )
    found = {imp.name: (imp.at_import, imp.checked_only) for imp in imports_of(code)}
    assert found == {
        "a": (True, False), "typing.TYPE_CHECKING": (True, False), "b": (True, True), "c": (True, False),
        "d": (True, False), "e": (True, False), "f": (True, False), "g": (True, False),
        "h": (False, False), "i.j": (False, False),
    }  # fmt: skip


@every_module
def test_imports_run_downwards(module: str) -> None:
    own = module.partition(".")[0]
    for found in imports_of(MODULES[module]):
        if inner := _inner(found):
            room = inner.partition(".")[0]
            assert room in allowed(own), (
                f"{module}:{found.line} imports {found.name}, and {room} is above {own}"
            )


def test_every_room_is_in_the_table_and_nothing_lies_loose() -> None:
    entries = {
        path.stem for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "py.typed", "_bundled")
    }
    assert entries == set(ROOMS) and len(entries) + 1 <= 26


def test_the_table_stands_in_contributing() -> None:
    assert table() in (PACKAGE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "script", sorted((PACKAGE / "converters/scripts").glob("*.py")), ids=lambda path: path.stem
)
def test_a_converters_script_stands_alone(script: Path) -> None:
    assert not [found for found in imports_of(script) if _root(found) == "edgeprune"]
    for module, path in MODULES.items():
        assert not [found for found in imports_of(path) if "converters.scripts" in found.name], module


@every_module
def test_click_is_imported_only_in_cli(module: str) -> None:
    if not _belongs(module, ("cli",)):
        assert not [found for found in imports_of(MODULES[module]) if _root(found) == "click"]


@every_module
def test_torch_is_imported_only_where_models_are_changed(module: str) -> None:
    if not _belongs(module, TORCH_HOMES):
        used = [found for found in imports_of(MODULES[module]) if _root(found) in TORCH]
        assert not [found for found in used if found.at_import or module != TAKES_TENSORS]


@every_module
def test_a_vendor_sdk_is_imported_only_in_functions_of_its_own_module(module: str) -> None:
    for found in imports_of(MODULES[module]):
        if (sdk := _root(found)) in VENDORS and not found.checked_only:
            where = f"{module}:{found.line} imports {found.name}"
            assert _belongs(module, VENDORS[sdk]), where
            assert not found.at_import, f"{where} outside a function"


@pytest.mark.parametrize("module", [name for name in MODULES if _belongs(name, TRAVELS)])
def test_what_travels_to_a_device_needs_only_the_standard_library_and_numpy(module: str) -> None:
    allowed = {*sys.stdlib_module_names, "numpy"}
    for found in imports_of(MODULES[module]):
        if not found.at_import or found.checked_only:
            continue
        inner = _inner(found)
        where = f"{module}:{found.line} imports {found.name}"
        assert _belongs(inner, TRAVELS) if inner else _root(found) in allowed, where


def _loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after running `code`."""
    loaded = "{name.partition('.')[0] for name, module in sys.modules.items() if module}"
    show = f"import sys; print(*{loaded}, file=sys.stderr)"
    args = [sys.executable, "-c", f"{code}\n{show}"]
    done = subprocess.run(args, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_importing_edgeprune_loads_nothing_heavy() -> None:
    loaded = _loaded_by("import edgeprune; edgeprune.__version__")
    assert "edgeprune" in loaded
    assert not loaded & {"torch", "numpy", "pydantic", "onnxruntime", "openvino", "yaml", "click", "rich"}


def test_help_loads_nothing_heavy() -> None:
    """What keeps `edgeprune --help` fast; the time itself is no matter for a test on a shared machine."""
    loaded = _loaded_by(
        "import sys; sys.argv = ['edgeprune', '--help']\n"
        "from edgeprune.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    assert "click" in loaded
    assert not loaded & {
        "torch",
        "pydantic",
        "onnxruntime",
        "openvino",
        "nncf",
        "onnx",
        "ultralytics",
        "cv2",
        "sklearn",
    }


def test_the_worker_loads_only_what_travels() -> None:
    loaded = _loaded_by(
        "import edgeprune.worker.benchmark, edgeprune.backends.onnxruntime, edgeprune.backends.openvino, "
        "edgeprune.backends.ncnn"
    )
    assert loaded - _loaded_by("import numpy") - sys.stdlib_module_names == {"edgeprune"}
