"""The options of `edgeprune bench` that choose a scenario, and which of them go together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli.numbers import number

if TYPE_CHECKING:
    from edgeprune.bench.setup import Setup

NAMES = ("single_stream", "paced", "throughput", "sustained", "cold")
PROFILES = ("quick", "standard", "sustained")


def scenario_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--scenario``, ``--fps``, ``--in-flight``, ``--profile`` and ``--seconds`` to a command."""
    for option in reversed(
        (
            click.option(
                "--scenario", type=click.Choice(NAMES), help="What is measured; single_stream by default."
            ),
            click.option(
                "--fps",
                type=number("camera_fps"),
                multiple=True,
                metavar="RATE",
                help="Camera rate of `paced`, once for each; 30, 10 and 5 by default.",
            ),
            click.option(
                "--in-flight",
                type=number("in_flight"),
                metavar="N",
                help="Queries at once of `throughput`.",
            ),
            click.option(
                "--profile",
                type=click.Choice(PROFILES),
                help="How long to measure: quick, but sustained for the scenario of that name.",
            ),
            click.option(
                "--seconds",
                type=number("seconds"),
                metavar="S",
                help="Measure for so long instead of what the profile says.",
            ),
        )
    ):
        command = option(command)
    return command


def read_scenario(
    scenario: str | None,
    fps: tuple[float, ...],
    in_flight: int | None,
    profile: str | None,
    seconds: float | None,
) -> tuple[Setup, str]:
    """Return the scenario with its settings, and the name of the profile.

    Raises:
        click.UsageError: options that do not go together, or a rate twice.
    """
    name = scenario or ("sustained" if profile == "sustained" else "single_stream")
    faults = [
        wrong
        for found, wrong in (
            (fps and name != "paced", f"--fps is the rate of --scenario paced, not of {name}"),
            (
                in_flight and name != "throughput",
                f"--in-flight goes with --scenario throughput, not with {name}",
            ),
            (name == "throughput" and not in_flight, "--scenario throughput needs --in-flight N, 2 or more"),
            (
                profile == "sustained" and name != "sustained",
                f"--profile sustained is one run of 10 minutes, not {name}; say --seconds",
            ),
            (
                name == "sustained" and profile in ("quick", "standard"),
                f"--scenario sustained is one run, not --profile {profile}; say --seconds",
            ),
            (
                name == "cold" and seconds is not None,
                "--seconds: --scenario cold counts starts; --profile says how many",
            ),
            (len(set(fps)) < len(fps), "--fps: the same rate is given twice"),
        )
        if found
    ]
    if faults:
        raise click.UsageError("; ".join(faults))
    from edgeprune.bench.setup import CAMERA_RATES, Setup

    setup = Setup(name, fps or CAMERA_RATES, in_flight or 1, seconds)  # type: ignore[arg-type]  # a `Choice`
    return setup, profile or ("sustained" if name == "sustained" else "quick")
