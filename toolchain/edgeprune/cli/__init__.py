"""The command line: parse, one call, print. Commands are imported when used, so `--help` stays quick."""

from __future__ import annotations

import contextlib
import errno
import json
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from edgeprune import __version__
from edgeprune.cli.ending import (
    NO_MEMORY,
    NO_READER,
    Terminated,
    cannot_import,
    cannot_write,
    ending_on_signals,
    flush_output,
    open_closed_streams,
    require_packages,
    require_working_folder,
)
from edgeprune.cli.usage import Group, in_one_line, require_writable
from edgeprune.core.errors import EdgepruneError, InterruptedBuildError, OutputError, OwnWarning
from edgeprune.core.redaction import without_password
from edgeprune.core.scratch import private_temporary_folder

COMMANDS: dict[str, tuple[str, str]] = {
    "build": (
        "edgeprune.cli.build",
        "Prune, export, quantize, compile, measure, and choose the fastest row.",
    ),
    "bench": ("edgeprune.cli.bench", "Measure an engine or an ONNX file by the protocol."),
    "check": ("edgeprune.cli.check", "Gate a candidate against a baseline in paired runs."),
    "profile": (
        "edgeprune.cli.profile",
        "Measure what each layer costs at each width, and find the channel step.",
    ),
    "sweep": ("edgeprune.cli.sweep", "Find the strength that sparsifies without wrecking accuracy."),
    "search": (
        "edgeprune.cli.search",
        "Search widths, depth, activation and image size; many machines on one study.",
    ),
    "explain": (
        "edgeprune.cli.explain",
        "Tell where the speed-up comes from, and why the most expensive layers are not faster.",
    ),
    "history": ("edgeprune.cli.history", "Keep results by commit; plot them with their change points."),
    "report": ("edgeprune.cli.report", "Write the HTML and Markdown report of a build."),
    "targets": ("edgeprune.cli.targets", "List the device profiles, or show one."),
    "runtimes": (
        "edgeprune.cli.runtimes",
        "List, install or remove converters in environments of their own.",
    ),
    "devices": ("edgeprune.cli.devices", "List what can be measured on, and its state."),
    "device": ("edgeprune.cli.device", "Prepare a device behind ssh or adb, or write a profile of one."),
    "doctor": ("edgeprune.cli.doctor", "Tell what is installed and which runtimes work here."),
}
_GO_ON = ("build", "profile", "search", "sweep")
_STORAGE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.EFBIG: "the file is larger than allowed here",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "links that lead in a circle",
    errno.EISDIR: "it is a folder",
    errno.EIO: "the device does not read or write it",
    errno.EMFILE: "too many open files (ulimit -n)",
    errno.ENFILE: "too many open files on this machine",
    errno.EAGAIN: "no more processes are allowed (ulimit -u)",
    errno.ENOMEM: NO_MEMORY,
}


class _LazyGroup(Group):
    """Imports a command's module when the command runs; catches the error tree once, for all of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from edgeprune.core.errors import did_you_mean

            ctx.fail(f"No such command {args[0]!r}.{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command line; print an unexpected traceback here, since its message may hold anything."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # what the terminal's encoding lacks is no reason to fail
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().main(*args, **kwargs)
        except OSError as exc:
            if exc.errno in _STORAGE:  # of what is printed outside of a command
                raise
            echo(traceback.format_exc().rstrip(), err=True)
            sys.exit(1)
        except Exception:
            echo(traceback.format_exc().rstrip(), err=True)
            sys.exit(1)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            require_writable(args)
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as exc:
            raise in_one_line(exc) from exc

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with ending_on_signals(), private_temporary_folder():
                require_working_folder()
                require_packages()
                return super().invoke(ctx)
        except click.UsageError as exc:
            raise in_one_line(exc) from exc
        except EdgepruneError as exc:
            self._end(ctx, exc)
        except ImportError as exc:
            if (exc.name or "").partition(".")[0] == "edgeprune":
                raise  # a bug of ours
            self._end(ctx, cannot_import(exc))
        except OSError as exc:
            if exc.errno == errno.EPIPE:
                flush_output()
                ctx.exit(NO_READER)
            if unwritten := cannot_write(exc):
                self._end(ctx, unwritten)
            if exc.errno not in _STORAGE:
                raise
            unprinted = flush_output()
            where = exc.filename or ("standard output" if unprinted else _full_place())
            kept = "" if unprinted else "; what was finished is kept"
            self._end(ctx, OutputError(f"{where}: {_STORAGE[exc.errno]}{kept}"))
        except MemoryError:
            self._end(ctx, EdgepruneError(NO_MEMORY))
        except KeyboardInterrupt as exc:
            kept = "; whole stages are kept, the same command goes on"
            kept = kept if ctx.invoked_subcommand in _GO_ON else ""
            self._end(ctx, InterruptedBuildError(f"{_how(exc)}{kept}"), _code(exc))

    def _end(self, ctx: click.Context, exc: EdgepruneError, code: int | None = None) -> None:
        if ctx.params.get("debug"):
            echo(traceback.format_exc().rstrip(), err=True)
        from edgeprune.report.cells import plain

        with contextlib.suppress(OSError):  # a terminal that was closed, a full disk
            text = plain(without_password(str(exc)))  # it may quote a file's name, or a device
            echo(f"edgeprune: {text}", err=True)
        ctx.exit(exc.exit_code if code is None else code)


def _how(exc: KeyboardInterrupt) -> str:
    return f"ended by {signal.Signals(exc.signum).name}" if isinstance(exc, Terminated) else "interrupted"


def _code(exc: KeyboardInterrupt) -> int | None:
    return 128 + exc.signum if isinstance(exc, Terminated) else None


def run() -> None:
    """Run the command line as a process of its own."""
    open_closed_streams()
    code: int | str | None = 0
    failed: OSError | None = None
    try:
        main()
    except SystemExit as exc:
        code = exc.code
    except OSError as exc:  # of what is printed outside of a command
        failed = exc
    if failed := flush_output() or failed:  # at the end of Python it would be a traceback
        if failed.errno == errno.EPIPE:
            raise SystemExit(code or NO_READER)
        with contextlib.suppress(OSError):
            echo(f"edgeprune: standard output: {_STORAGE.get(failed.errno or 0, failed)}", err=True)
        code = code or OutputError.exit_code
    raise SystemExit(code)


def _full_place() -> str:
    """Say where a write without a name failed."""
    from edgeprune.core.files import full_place
    from edgeprune.core.resources import cache_dir

    return full_place([str(cache_dir()), *sys.argv[1:]]) or "a temporary file"


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgeprune")
@click.option("--debug", is_flag=True, help="Show tracebacks and the warnings of libraries.")
def main(debug: bool) -> None:
    """Take a trained vision model; give back the fastest artifact for a device that still keeps its accuracy.

    \b
      edgeprune build --model best.pt --data data.yaml --target cpu --out build

    Exit codes: 2 usage, 3 configuration or input, 4 device, 5 compile or export, 6 not comparable, 7 budget
    not met, 8 inconclusive, 10 regression, 130 interrupted, 143 ended by SIGTERM.
    """
    if not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")
    click.get_current_context().with_resource(_showing_own_warnings())


@contextlib.contextmanager
def _showing_own_warnings() -> Iterator[None]:
    """Print each `OwnWarning` once, as a warning of ours."""
    with warnings.catch_warnings():
        plainly = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, OwnWarning):
                warn(str(message))
            else:
                plainly(message, category, *where, **more)

        warnings.showwarning = show
        warnings.filterwarnings("default", category=OwnWarning)
        yield


def echo(text: str, err: bool = False) -> None:
    """Print lines for people, without what a terminal or a CI system would take for a command."""
    from edgeprune.report.console import for_terminal

    click.echo(for_terminal(text), err=err)


def warn(text: str | None) -> None:
    """Print a warning on standard error, if there is one."""
    if text:
        echo(f"edgeprune: warning: {text}", err=True)


def echo_json(text: str) -> None:
    """Print JSON text, and nothing else, on standard output; what no terminal shows is escaped in it."""
    shown = (char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
    click.echo("".join(shown))
