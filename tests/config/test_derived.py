"""A profile made from another: what is taken over, what is not, and what leads nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.config.targets import load_profile, resolve_targets, target_files
from edgeprune.core.errors import ConfigError


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the user's own profiles."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "edgeprune" / "targets"
    folder.mkdir(parents=True)
    return folder


def test_what_is_written_stands_in_place_of_the_base_and_notes_are_added(own: Path) -> None:
    (own / "mine.yaml").write_text(
        "description: mine\nextends: orin-nano\nprecisions: [int8]\nchannel_step: {int8: 32}\n"
        "notes: [a note]\n"
    )
    mine, base = resolve_targets(("mine", "orin-nano"))
    assert (mine.backend, mine.scheme, mine.compile_on) == (base.backend, base.scheme, base.compile_on)
    assert mine.channel_step == {"int8": 32} and mine.notes == ("a note", *base.notes)
    assert (mine.maker, mine.extends) == ("NVIDIA", "orin-nano")
    # What was said of one board is not said of another.
    assert (mine.aliases, mine.cores, mine.memory, mine.sources, mine.channel_step_from) == (
        (),
        "",
        "",
        (),
        "",
    )


def test_a_profile_of_the_users_can_extend_the_shipped_one_that_it_replaces(own: Path) -> None:
    shipped = load_profile(target_files()["arm64-ort"])
    (own / "arm64-ort.yaml").write_text("description: mine\nextends: arm64-ort\nship: fp32\n")
    (mine,) = resolve_targets(("arm64-ort",))
    assert (mine.description, mine.ship, mine.scheme) == ("mine", "fp32", shipped.scheme)
    (board,) = resolve_targets(("rpi5",))
    assert board.ship == "fp32"  # which is made from what stands in its place


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"a": "extends: a\n"}, "a.yaml: extends: 'a' leads back to this profile"),
        ({"a": "extends: b\n", "b": "extends: a\n"}, "b.yaml: extends: 'a' leads back to this profile"),
        ({"a": "extends: cpu\n"}, "a.yaml: extends: 'cpu' stands for several targets; name one of them"),
        ({"a": "extends: [jetson]\n"}, "a.yaml: extends: the name of a target is expected, not ['jetson']"),
        ({"a": "extends: rpi55\n"}, "a.yaml: extends: unknown target 'rpi55' (did you mean 'rpi5'?)"),
        ({"a": "extends: jetson\n"}, "a.yaml: description: this key is required"),
        ({"a": "description: x\nextends: jetson\nprecisions: [fp32]\n"}, "ship: 'int8' is not among"),
    ],
)
def test_a_base_that_cannot_be_is_one_line(own: Path, files: dict[str, str], complaint: str) -> None:
    for name, text in files.items():
        (own / f"{name}.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve_targets(("a",))
    assert complaint in str(caught.value) and "\n" not in str(caught.value)
