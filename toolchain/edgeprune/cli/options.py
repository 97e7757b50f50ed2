"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output, and only that."
)
force_option = click.option("--force", is_flag=True, help="Compare although the two sides differ.")


def milliseconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read an option such as ``8``, ``8ms`` or ``7.5 ms``."""
    try:
        return None if value is None else float(value.strip().lower().removesuffix("ms"))
    except ValueError as exc:
        raise click.BadParameter(f"{value!r} is not a time in milliseconds, such as 8ms") from exc


def existing(path: str, demo: str) -> Path:
    """Return a path as it is; the name `digits` means the bundled demo when no such file is there.

    Args:
        demo: ``model`` or ``data``.
    """
    from edgeprune.demo import digits_data, digits_model

    if path == "digits" and not Path(path).exists():
        return digits_model() if demo == "model" else digits_data()
    return Path(path)
