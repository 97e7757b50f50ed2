"""`edgeprune device`: prepare a device that is not this machine, take that back, or write down what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import echo, echo_json
from edgeprune.cli.options import (
    AskedModel,
    address_of,
    effort,
    imgsz_option,
    json_option,
    model_options,
    one_target,
    threads_option,
)
from edgeprune.cli.outputs import profile_file, require_apart
from edgeprune.cli.progress import stage_progress
from edgeprune.cli.usage import Group
from edgeprune.core.extras import require_build

if TYPE_CHECKING:
    from edgeprune.bench.testbed import Testbed
    from edgeprune.config.targets import DeviceProfile, Precision
    from edgeprune.latency.profile import MeasuredStep


@click.group(cls=Group)
def command() -> None:
    """Prepare a device that is reached by ssh or adb, or write a profile of one."""


@command.command("setup")
@click.argument("address")
@click.option(
    "--target",
    metavar="NAME",
    help="Profile whose runtime is installed; by default that of your devices.yaml, else the runtimes of "
    "`cpu` there.",
)
@click.option("--yes", is_flag=True, help="Send a Python of its own to a device without one, and do not ask.")
def setup_command(address: str, target: str | None, yes: bool) -> None:
    """Give the device at ADDRESS numpy and the runtime of a target, and Python where it has none.

    ADDRESS is ssh://..., adb://... or a name in your devices.yaml.
    """
    from edgeprune.cli.device_setup import set_up
    from edgeprune.runners.devices import remote_runner_for
    from edgeprune.runners.known import place_of

    place = place_of(address)
    set_up(remote_runner_for(place.address), target or place.target, yes)


@command.command("remove")
@click.argument("address")
def remove_command(address: str) -> None:
    """Remove all that edgeprune has put on the device at ADDRESS.

    ADDRESS is ssh://..., adb://... or a name in your devices.yaml.
    """
    from edgeprune.runners.bringing import remove
    from edgeprune.runners.devices import remote_runner_for

    with remote_runner_for(address_of(address)).shell() as shell:
        removed = remove(shell)
    echo(f"removed: {', '.join(removed)}" if removed else "nothing of edgeprune lies there")


@command.command("profile")
@click.argument("address")
@model_options
@click.option(
    "--target",
    metavar="NAME",
    help="Profile of its kind, which the new one is made from; by default that of your devices.yaml, else "
    "the first of `cpu` there.",
)
@imgsz_option
@threads_option
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Profile to write, a .yaml file.",
)
@json_option
def profile_command(
    address: str, asked: AskedModel, target: str | None, out: Path, as_json: bool, **network: Any
) -> None:
    """Write a profile of the device at ADDRESS: what it is, its runtimes, and its measured channel steps.

    ADDRESS is local, ssh://..., adb://... or a name in your devices.yaml. The layers of a model are timed
    there in each precision of the target.
    """
    require_build("device profile")
    from edgeprune.bench.testbed import as_testbed
    from edgeprune.config.targets import resolve_targets
    from edgeprune.core.errors import ConfigError
    from edgeprune.core.files import write_text_atomically
    from edgeprune.latency.board import board_profile, to_yaml
    from edgeprune.runners import require_timed
    from edgeprune.runners.devices import runner_for
    from edgeprune.runners.known import place_of

    source = asked.source()
    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{out}: a profile is a .yaml file")
    require_apart([out], [source.file, profile_file(target)])
    place = place_of(address)
    target = target or place.target
    with runner_for(place.address) as runner:
        require_timed(runner)
        base = one_target(target) if target else resolve_targets(("cpu",), runner.machine)[0]
        measured, words = _measure_steps(asked, base, as_testbed(runner, [base], effort()), network)
        profile = board_profile(runner, base, measured, words).model_copy(update={"name": out.stem})
    write_text_atomically(out, to_yaml(profile))
    if as_json:
        echo_json(profile.model_dump_json(indent=1))
        return
    for precision, found in measured.items():
        said = "no layer is wide enough to tell" if found.step is None else str(found.step)
        echo(f"{precision}: channel step {said} ({base.name} says {base.channel_step[precision]})")
    echo(f"profile: {out}")


def _measure_steps(
    asked: AskedModel, base: DeviceProfile, testbed: Testbed, network: dict[str, Any]
) -> tuple[dict[Precision, MeasuredStep], str]:
    """Measure the channel step of each precision; return what it was measured with in words beside it."""
    from edgeprune.config.recipe import Recipe
    from edgeprune.images.size import size_words
    from edgeprune.latency.profile import measure_step
    from edgeprune.latency.shipped import subject_of
    from edgeprune.models.source import choose_adapter

    source, words = asked.source(), ""
    measured: dict[Precision, MeasuredStep] = {}
    with stage_progress() as notify:
        for notice in source.notices:
            notify("load", 0.0, notice)
        adapter = choose_adapter(source, Recipe())
        for precision in base.precisions:
            subject = subject_of(adapter, source.file, profile=base, precision=precision, **network)
            measured[precision] = measure_step(subject, testbed, notify)
            threads = f"{subject.threads} thread{'' if subject.threads == 1 else 's'}"
            words = f"{source.file.name}, {size_words(subject.imgsz)}, {threads}"
    return measured, words
