"""`edgeprune bench --device emulated://...`: outputs are compared, nothing is timed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from edgeprune.cli import echo_json
from edgeprune.cli.progress import stage_progress

if TYPE_CHECKING:
    from edgeprune.verify.agreement import Agreement

_PREFIX = "emulated://"
_OF_OUTPUTS = {"path", "target", "threads", "devices", "out", "as_json"}


def is_emulated(device: str) -> bool:
    """Tell whether an address of `--device` is that of an emulated device."""
    return device.startswith(_PREFIX)


def compare(
    path: Path, target: str | None, threads: int, device: str, out: Path | None, as_json: bool
) -> None:
    """Run what lies at a path here and on an emulated device, print how they agree, and keep it in `out`.

    Raises:
        EdgepruneError: what ended it, a `DeviceError` as a rule; the rows before are printed all the same.
        CompileError: the outputs of a row differ by more than its tolerance.
    """
    _refuse_timing(click.get_current_context())
    from edgeprune.bench.subject import subjects_of
    from edgeprune.core.errors import CompileError, EdgepruneError
    from edgeprune.runners.emulated import EmulatedRunner
    from edgeprune.verify.agreement import compare_subjects, save_agreement

    agreements = []
    failure: EdgepruneError | None = None
    with stage_progress() as notify, contextlib.ExitStack() as stack:
        runner = EmulatedRunner(device, lambda share, text: notify("prepare", share, text))
        subjects = subjects_of(path, target, machine=runner.machine)
        stack.enter_context(runner)  # only now, since it may fetch a lot
        try:
            for agreement in compare_subjects(
                subjects, threads, runner, lambda share, text: notify("compare", share, text)
            ):
                agreements.append(agreement)
                if out:
                    save_agreement(agreement, out)
        except EdgepruneError as exc:
            failure = exc
    _show(agreements, as_json)
    if failure:
        compared = f"; {len(agreements)} of {len(subjects)} rows were compared" if agreements else ""
        raise type(failure)(f"{failure}{compared}") from failure
    if wrong := [one.name for one in agreements if not one.agrees]:
        raise CompileError(f"{path}: outputs on {device} are not this machine's: {', '.join(wrong)}")


def _show(agreements: Sequence[Agreement], as_json: bool) -> None:
    if as_json:
        shown = [one.model_dump(mode="json") | {"agrees": one.agrees} for one in agreements]
        echo_json(json.dumps(shown))
    elif agreements:
        from edgeprune.report.agreement import print_agreements
        from edgeprune.report.console import terminal

        print_agreements(agreements, terminal())


def _refuse_timing(context: click.Context) -> None:
    """Refuse every option that says how to time: none of them has a meaning here."""
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) not in (None, ParameterSource.DEFAULT)
        if given and name not in _OF_OUTPUTS:
            raise click.UsageError(
                f"{parameter.opts[0]}: nothing is timed on an emulated device, its outputs are compared"
            )
