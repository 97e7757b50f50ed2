"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli.numbers import number

if TYPE_CHECKING:
    from edgeprune.bench.effort import Effort
    from edgeprune.config.recipe import Recipe
    from edgeprune.config.targets import DeviceProfile
    from edgeprune.models.source import ModelSource
    from edgeprune.pipeline.context import BuildRequest

_MODEL = (
    click.option(
        "--model",
        required=True,
        metavar="FILE|NAME",
        help="Trained checkpoint or ONNX file; or torchvision:NAME, timm:NAME; `digits` is the bundled demo.",
    ),
    click.option(
        "--weights",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Trained weights of a torchvision:NAME or timm:NAME.",
    ),
    click.option(
        "--adapter",
        metavar="NAME|FILE.py",
        help="Kind of model, where the file does not tell; or your own Python file, which is run.",
    ),
)
target_option = click.option(
    "--target", required=True, metavar="NAME", help="Device profile; one target, not an alias."
)
imgsz_option = click.option(
    "--imgsz",
    type=number("imgsz"),
    help="Input size in pixels, 640 or height x width as 384x640; the checkpoint's own by default.",
)
batch_option = click.option(
    "--batch", type=number("images_at_once"), help="Images that engines take at once; 1 by default."
)
max_drop_option = click.option(
    "--max-drop",
    type=number("max_drop"),
    help="Largest loss of mAP50-95 or top-1 on the val split, absolute.",
)
sure_option = click.option(
    "--sure", is_flag=True, help="A row has to keep to --max-drop with the whole 95 % interval of its drop."
)
threads_option = click.option(
    "--threads", type=number("threads"), default=1, show_default=True, help="Threads of the runtime."
)
_DEVICE: dict[str, Any] = {
    "default": "local",
    "show_default": True,
    "metavar": "ADDRESS",
    "help": "Where to measure: local, ssh://user@host:port, adb://serial, or a name in your devices.yaml.",
}
device_option = click.option("--device", **_DEVICE, callback=lambda ctx, param, value: address_of(value))
place_option = click.option("--device", **_DEVICE)  # as it is given; `runners.known.place_of` looks it up
history_option = click.option(
    "--history", metavar="URL", help="Also add the results to a history: SQLite file, or SQLAlchemy URL."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output, and only that."
)
force_option = click.option("--force", is_flag=True, help="Compare although the two sides differ.")


def effort() -> Effort:
    """Return how much the running command is to measure: what its caller handed to click, else as usual."""
    from edgeprune.bench.effort import Effort

    return click.get_current_context().find_object(Effort) or Effort()


def address_of(device: str) -> str:
    """Return the address of a device that may be given by its name in the user's list."""
    from edgeprune.runners.known import place_of

    return place_of(device).address


def one_target(name: str) -> DeviceProfile:
    """Return the profile of a target.

    Raises:
        ConfigError: there is none of this name, or it stands for several.
    """
    from edgeprune.config.targets import resolve_targets
    from edgeprune.core.errors import ConfigError

    profiles = resolve_targets((name,))
    if len(profiles) > 1:
        names = ", ".join(profile.name for profile in profiles)
        raise ConfigError(f"--target {name}: it stands for {names}; name one of them")
    return profiles[0]


def existing(path: str, demo: str) -> Path:
    """Return a path as it is; the name `digits` means the bundled demo when no such file is there.

    Args:
        demo: ``model`` or ``data``.
    """
    from edgeprune.images.demo import digits_data, digits_model

    if path == "digits" and not Path(path).exists():
        return digits_model() if demo == "model" else digits_data()
    return Path(path)


def grouped(name: str, kind: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that hands the options of a dataclass's fields to a command as one record."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def grouping(**given: Any) -> None:
            own = {field.name: given.pop(field.name) for field in fields(kind)}
            command(**{name: kind(**own)}, **given)

        return grouping

    return decorate


@dataclass(frozen=True)
class AskedModel:
    """What every command is given that works on a checkpoint."""

    model: str
    weights: Path | None
    adapter: str | None

    def source(self, metric: str | None = None) -> ModelSource:
        """Return what the user says of the model.

        Raises:
            ConfigError: weights without the network that they are of, or a network without its weights.
        """
        from edgeprune.core.errors import ConfigError
        from edgeprune.models.source import ModelSource, is_architecture

        if not is_architecture(self.model):
            if self.weights:
                raise ConfigError(
                    f"--weights: {self.model} is a file and has its own; name the network, such as "
                    "--model torchvision:resnet18"
                )
            return ModelSource(existing(self.model, "model"), adapter=self.adapter, metric=metric)
        if self.adapter:
            raise ConfigError(f"--adapter: {self.model} names the kind of model already; leave it out")
        if self.weights is None:
            raise ConfigError(
                f"--model {self.model}: its trained weights are needed; give the file by --weights "
                "(nothing is downloaded: docs/classifiers.md says how to get published ones)"
            )
        return ModelSource(self.weights, self.model, metric=metric)


@dataclass(frozen=True)
class Asked(AskedModel):
    """What every command is given that works on a checkpoint and its data."""

    metric: str | None
    no_labels: bool
    data: str
    out: Path
    recipe_file: Path | None
    assignments: tuple[str, ...]
    trust_model: bool
    skip_bad_images: bool

    def recipe(self, **keys: object) -> Recipe:
        """Return the recipe: its file's, changed by `--set`, then by the options of the command itself."""
        from edgeprune.config.recipe import load_recipe

        labels = {"finetune__labels": False if self.no_labels else None}
        return load_recipe(self.recipe_file, self.assignments, **labels, **keys)

    def request(self, recipe: Recipe, targets: tuple[DeviceProfile, ...], **more: Any) -> BuildRequest:
        """Return what a build is asked for."""
        from edgeprune.core.resources import own_command_line
        from edgeprune.pipeline.context import BuildRequest

        return BuildRequest(
            model=self.source(self.metric),
            data=existing(self.data, "data"),
            targets=targets,
            recipe=recipe,
            out=self.out,
            command=own_command_line(),
            trust=self.trust_model,
            skip_bad=self.skip_bad_images,
            **more,
        )


def build_options(folder: str = "Build folder.") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what gives a command the model, ``--data`` and ``--out``, and all of `Asked` as ``asked``.

    `recipe_options` stand last in its help, so they are added apart.

    Args:
        folder: what ``--out`` is.
    """
    out = click.Path(path_type=Path, file_okay=False)
    own = (
        *_MODEL,
        click.option(
            "--data",
            required=True,
            metavar="PATH",
            help="data.yaml of the data set, a classifier's folder; `digits` is the demo's.",
        ),
        click.option(
            "--no-labels", is_flag=True, help="DATA is pictures alone: the original teaches and judges."
        ),
        click.option(
            "--metric",
            metavar="FILE.py:FUNCTION",
            help="Your own figure, higher is better, to judge by; the file is run.",
        ),
        click.option("--out", required=True, type=out, help=folder),
    )
    return lambda command: _with(own, grouped("asked", Asked)(command))


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--model``, ``--weights`` and ``--adapter`` to a command that gets them as ``asked``."""
    return _with(_MODEL, grouped("asked", AskedModel)(command))


def input_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--recipe`` and ``--set`` to a command."""
    file = click.Path(path_type=Path, dir_okay=False)
    own = (
        click.option("--recipe", "recipe_file", type=file, help="Recipe (YAML)."),
        click.option(
            "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set any key of the recipe."
        ),
    )
    return _with(own, command)


def recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--recipe``, ``--set``, ``--trust-model`` and ``--skip-bad-images`` to a command."""
    own = (
        click.option(
            "--trust-model", is_flag=True, help="Unpickle the checkpoint, which runs the code in it."
        ),
        click.option(
            "--skip-bad-images",
            is_flag=True,
            help="Leave out images and labels that cannot be used, and say which.",
        ),
    )
    return input_options(_with(own, command))


def _with(options: Sequence[Callable[..., Any]], command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(options):
        command = option(command)
    return command
