"""`edgeprune device`: prepare a device that is not this machine."""

from __future__ import annotations

import click

from edgeprune.cli import echo
from edgeprune.cli.options import address_of, one_target
from edgeprune.cli.usage import Group


@click.group(cls=Group)
def command() -> None:
    """Prepare a device that is reached by ssh or adb."""


@command.command("setup")
@click.argument("address")
@click.option(
    "--target",
    metavar="NAME",
    help="Profile whose runtime is installed; by default the runtimes of `cpu` there.",
)
def setup_command(address: str, target: str | None) -> None:
    """Make a virtual environment on the device at ADDRESS, with numpy and the runtime of a target.

    ADDRESS is ssh://..., adb://... or a name in your devices.yaml.
    """
    from edgeprune.config.targets import resolve_targets
    from edgeprune.runners.devices import remote_runner_for
    from edgeprune.runners.runtimes import install

    with remote_runner_for(address_of(address)) as runner:
        profiles = [one_target(target)] if target else resolve_targets(("cpu",), runner.machine)
        for backend in dict.fromkeys(profile.backend for profile in profiles):
            python = install(backend, runner, lambda text: echo(f"device: {text}", err=True))
            echo(f"{backend} is installed: {python}")
