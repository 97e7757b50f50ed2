"""A package as pip leaves it in a folder of installed packages, with an entry point."""

from __future__ import annotations

from pathlib import Path


def install_package(site: Path, name: str, version: str, entry_point: str, modules: dict[str, str]) -> None:
    """Put a package of single modules into a folder of installed packages.

    Args:
        entry_point: its group and what it names, as ``group: name = module``.
        modules: their code by name.
    """
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    group, named = entry_point.split(": ")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{named}\n")
    (info / "RECORD").write_text("".join(f"{module}.py,,\n" for module in modules))
    for module, code in modules.items():
        (site / f"{module}.py").write_text(code)
