"""Commands that tell all faults of a command line at once, and how a fault of usage is told: in one line."""

from __future__ import annotations

import os
from typing import IO, Any

import click
from click.core import iter_params_for_processing
from click.exceptions import NoArgsIsHelpError


class Command(click.Command):
    """A command whose options are all looked at before the first fault is told."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does; where that fails, look for the faults of all other options too.

        Raises:
            click.UsageError: with every fault in its message.
        """
        try:
            return super().parse_args(ctx, list(args))
        except click.UsageError as exc:
            others = [fault for fault in self._faults(ctx, args) if fault != exc.format_message()]
            if not others or ctx.resilient_parsing:
                raise
            raise click.UsageError(" ".join([exc.format_message(), *others]), ctx) from exc

    def _faults(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            opts, rest, order = self.make_parser(ctx).parse_args(args=list(args))
        except click.UsageError:  # an option that there is not: what follows it cannot be told apart
            return []
        faults = []
        for param in iter_params_for_processing(order, self.get_params(ctx)):
            try:
                _, rest = param.handle_parse_result(ctx, opts, rest)
            except click.UsageError as exc:
                faults.append(exc.format_message())
        return faults


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


class _OneLine(click.ClickException):
    """A fault of usage, told as every other error is."""

    exit_code = click.UsageError.exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line on standard error."""
        from edgeprune.cli import echo
        from edgeprune.core.redaction import without_password
        from edgeprune.report.cells import plain

        echo(f"edgeprune: {plain(without_password(self.message))}", err=True)


def require_writable(args: list[str]) -> None:
    """Refuse words that no system call takes; a shell cannot pass them, a program that calls this one can.

    Raises:
        click.UsageError: a word holds a NUL or half of a surrogate pair.
    """
    for word in args:
        try:
            if b"\0" in os.fsencode(word):
                raise click.UsageError(f"{word!a}: a word of a command line holds no NUL")
        except UnicodeEncodeError as exc:
            raise click.UsageError(f"{word!a}: a word of a command line is text") from exc


def in_one_line(exc: click.UsageError) -> click.ClickException:
    """Return a fault of usage as an error of one line that ends with the command that helps.

    The help that a group prints when nothing is asked of it stays as it is.
    """
    if isinstance(exc, NoArgsIsHelpError):
        return exc
    said = " ".join(exc.format_message().split()).rstrip(".")
    names = exc.ctx.command_path.split()[1:] if exc.ctx else []  # the first is how the program was started
    return _OneLine(f"{said}; see `{' '.join(['edgeprune', *names])} --help`")
