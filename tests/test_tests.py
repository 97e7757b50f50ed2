"""The rules of the tests themselves: a module's test is found by its name, and nothing private is patched."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("*.py"))
PATCHING = {"setattr", "delattr", "patch", "object"}


def _private(dotted: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in dotted.split("."))


def _patched(call: ast.Call) -> Iterator[str]:
    """Yield what a call patches, as its text tells: `setattr(a.b, "c", ...)` or `setattr("a.b.c", ...)`."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in PATCHING:
        for given in call.args[:2]:
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                yield given.value
            elif isinstance(given, ast.Attribute | ast.Name):
                yield ast.unparse(given)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.relative_to(TESTS).as_posix())
def test_nothing_private_is_patched(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            for name in _patched(node):
                assert not _private(name), f"line {node.lineno} patches {name}: give it a name that is public"
