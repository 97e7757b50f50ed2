"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli.numbers import number

if TYPE_CHECKING:
    from edgeprune.config.targets import DeviceProfile

model_option = click.option(
    "--model", required=True, metavar="FILE", help="Trained checkpoint (.pt); `digits` is the bundled demo."
)
data_option = click.option(
    "--data",
    required=True,
    metavar="PATH",
    help="data.yaml of the data set, a classifier's folder; `digits` is the demo's.",
)
target_option = click.option(
    "--target", required=True, metavar="NAME", help="Device profile; one target, not an alias."
)
out_option = click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Build folder."
)
imgsz_option = click.option(
    "--imgsz", type=number("imgsz"), help="Input size in pixels; the checkpoint's own by default."
)
max_drop_option = click.option(
    "--max-drop",
    type=number("max_drop"),
    help="Largest loss of mAP50-95 or top-1 on the val split, absolute.",
)
threads_option = click.option(
    "--threads", type=number("threads"), default=1, show_default=True, help="Threads of the runtime."
)
recipe_option = click.option(
    "--recipe", "recipe_file", type=click.Path(path_type=Path, dir_okay=False), help="Recipe (YAML)."
)
set_option = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set any key of the recipe."
)
trust_option = click.option(
    "--trust-model", is_flag=True, help="Unpickle the checkpoint, which runs the code in it."
)
skip_bad_option = click.option(
    "--skip-bad-images", is_flag=True, help="Leave out images and labels that cannot be used, and say which."
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
