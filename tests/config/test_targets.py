"""Device profiles: every file of `targets/` is sound, aliases follow the machine, mistakes get one line."""

from __future__ import annotations

import platform
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.backends import BACKENDS, get_backend, known_backends
from edgeprune.config.targets import (
    DeviceProfile,
    load_profile,
    resolve_targets,
    shipped_profiles,
    target_files,
    target_names,
)
from edgeprune.core.documents import read_mapping, validate
from edgeprune.core.errors import ConfigError, OldFormWarning

SOUND: dict[str, Any] = {
    "description": "a test target",
    "arch": ["x86_64"],
    "backend": "onnxruntime",
    "precisions": ["fp32", "int8"],
    "channel_step": {"fp32": 8, "int8": 16},
    "scheme": "ort-u8s8",
}
FILES = target_files()
PROFILES = {name: path for name, path in FILES.items() if "alias" not in read_mapping(path, ConfigError)}
ALIASES = {name: path for name, path in FILES.items() if name not in PROFILES}


def _write(folder: Path, data: Any, name: str = "board.yaml") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data), encoding="utf-8")
    return path


def _complaint(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_profile(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_sound(name: str) -> None:
    profile = load_profile(PROFILES[name])
    assert profile.name == name
    assert profile.backend in BACKENDS
    assert profile.step == profile.channel_step[profile.ship]
    # A multiple of 8 always: below that no vector unit of these targets is filled.
    assert all(step % 8 == 0 for step in profile.channel_step.values())
    assert set(profile.options) <= set(profile.precisions)
    assert resolve_targets((name,)) == (profile,)


@pytest.mark.parametrize("name", PROFILES)
def test_a_board_says_what_it_is_and_where_that_was_read(name: str) -> None:
    profile = load_profile(PROFILES[name])
    if profile.extends is None:
        return
    assert profile.maker and profile.cores and profile.memory and profile.channel_step_from
    assert profile.sources and all(source.startswith("https://") for source in profile.sources)
    base = resolve_targets((profile.extends,))[0]
    assert profile.channel_step == base.channel_step and set(base.notes) <= set(profile.notes)


def test_each_alias_stands_for_one_shipped_target_and_for_no_name() -> None:
    aliases = [alias for profile in shipped_profiles() for alias in profile.aliases]
    assert len(aliases) == len(set(aliases)) and not set(aliases) & set(FILES)
    assert {"orin": "jetson", "android": "android-ort", "intel": "nuc", "pi5": "rpi5"}.items() <= {
        alias: path.stem for alias, path in target_names().items()
    }.items()
    assert resolve_targets(("orin", "jetson")) == resolve_targets(("jetson",))


@pytest.mark.parametrize("name", PROFILES)
def test_no_profile_names_a_host(name: str) -> None:
    assert not {"host", "address", "user", "device"} & set(read_mapping(PROFILES[name], ConfigError))


@pytest.mark.parametrize("name", ALIASES)
def test_every_alias_names_targets_of_its_architecture(name: str) -> None:
    alias = read_mapping(ALIASES[name], ConfigError)
    assert set(alias) == {"description", "alias"}
    for machine in alias["alias"]:
        members = resolve_targets((name,), machine)
        assert members
        assert all(machine in member.arch for member in members)


def test_cpu_means_this_machines_own_runtimes() -> None:
    assert [profile.name for profile in resolve_targets(("cpu",), "x86_64")] == ["x86-ort", "x86-openvino"]
    assert [profile.name for profile in resolve_targets(("cpu",), "aarch64")] == [
        "arm64-ort",
        "arm64-openvino",
    ]


def test_an_architecture_without_an_alias_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cpu.yaml: alias: nothing is listed .* 'riscv64'"):
        resolve_targets(("cpu",), "riscv64")


def test_each_target_comes_once_and_in_order() -> None:
    found = resolve_targets(("x86-openvino", "cpu", "x86-openvino"), "x86_64")
    assert [profile.name for profile in found] == ["x86-openvino", "x86-ort"]


def test_a_target_can_be_a_file_of_ones_own(tmp_path: Path) -> None:
    (profile,) = resolve_targets((str(_write(tmp_path, SOUND)),))
    assert (profile.name, profile.step, profile.ship) == ("board", 16, "int8")


@pytest.mark.parametrize(("typed", "meant"), [("x86-otr", "x86-ort"), ("jetsen", "jetson"), ("CPU", None)])
def test_an_unknown_target_is_refused_with_the_nearest(typed: str, meant: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_targets((typed,))
    assert str(caught.value).startswith(f"unknown target {typed!r}")
    assert "`edgeprune targets` lists them all" in str(caught.value)
    assert meant is None or f"did you mean {meant!r}?" in str(caught.value)


def test_an_alias_of_something_unknown_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, {"description": "x", "alias": {"x86_64": ["x86-otr"], "aarch64": "arm64-ort"}})
    with pytest.raises(
        ConfigError, match=r"alias.x86_64: unknown target 'x86-otr' \(did you mean 'x86-ort'\?\)"
    ):
        resolve_targets((str(path),), "x86_64")
    with pytest.raises(
        ConfigError, match=r"alias.aarch64: a list of target names is expected, not 'arm64-ort'"
    ):
        resolve_targets((str(path),), "aarch64")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"backend": "onnxruntim"}, "did you mean 'onnxruntime'?"),
        ({"precisions": ["fp32", "int9"]}, "precisions.1: 'int9' is not one of fp32, fp16, bf16, int8"),
        ({"chanel_step": {}}, "unknown key 'chanel_step' (did you mean 'channel_step'?)"),
        ({"channel_step": {"fp33": 8}}, "channel_step.fp33: 'fp33' is not one of"),
        ({"channel_step": {"fp32": 8}}, "channel_step.int8: a step is needed for each precision"),
        ({"channel_step": {"fp32": 8, "int8": 0}}, "channel_step.int8: Input should be greater than or"),
        ({"channel_step": {"fp32": 8, "int8": 100000}}, "channel_step.int8: Input should be less than or"),
        ({"channel_step": {"fp32": 8, "int8": True}}, "channel_step.int8: a number is expected, not true"),
        ({"precisions": []}, "precisions: "),
        ({"ship": "fp16"}, "ship: 'fp16' is not among precisions"),
        ({"arch": "x86_64"}, "arch: "),
        ({"arch": ["x86-64"]}, "arch.0: 'x86-64' is not one of x86_64, aarch64 (did you mean 'x86_64'?)"),
        ({"options": {"int8": 3}}, "options.int8: a section of keys and values is expected, not 3"),
        ({"host": "10.0.0.1"}, "unknown key 'host'"),
        ({"compile_on": "board"}, "compile_on: 'board' is not one of host, device"),
        ({"compile_on": "device"}, "time_on: what only the device compiles is timed there"),
        ({"built_on": "board"}, "built_on: it was 'host' or 'device'; compile_on, evaluate_on, time_on took"),
        ({"built_on": "host", "time_on": "device"}, "unknown key 'built_on'"),
        ({"aliases": "pi"}, "aliases: a list is expected, not 'pi'"),
        (
            {"cores": 6, "maker": ["a"]},
            "maker: a text is expected, not ['a']; cores: a text is expected, not 6",
        ),
        ({"channel_step": {"fp32": "many"}}, "channel_step.fp32: a whole number is expected, not 'many'"),
        ({"extends": "jetsn"}, "extends: unknown target 'jetsn' (did you mean 'jetson'?)"),
    ],
)
def test_a_mistake_names_its_key_and_what_was_meant(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    assert complaint in _complaint(_write(tmp_path, SOUND | change))


@pytest.mark.parametrize("key", sorted(SOUND))
def test_every_key_of_a_bare_profile_is_required(tmp_path: Path, key: str) -> None:
    bare = {name: value for name, value in SOUND.items() if name != key}
    assert _complaint(_write(tmp_path, bare)) == f"{key}: this key is required"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- a\n- b\n", "a mapping of keys to values is expected, not ['a', 'b']"),
        ("", "a mapping of keys to values is expected, not an empty file"),
        ("a: 1\nb: [1,\n", "not valid YAML: line 3, column 1: expected the node content, but found"),
        ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_what_is_not_a_plain_mapping_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    assert complaint in _complaint(_write(tmp_path, text))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in _complaint(tmp_path / "none.yaml")
    assert "cannot be read" in _complaint(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    assert "not a UTF-8 text (UTF-16)" in _complaint(binary)


def test_runs_here_needs_the_architecture_and_an_engine_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    here = validate(DeviceProfile, SOUND | {"name": "here"}, "test", ConfigError)
    on_device = validate(DeviceProfile, SOUND | {"name": "there", "time_on": "device"}, "test", ConfigError)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert here.runs_here
    assert not on_device.runs_here
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert not here.runs_here


@pytest.mark.parametrize(
    ("old", "places"),
    [
        ({"built_on": "host"}, ("host", "host", "host")),
        ({"built_on": "device"}, ("device", "host", "device")),
        ({"built_on": "device", "format": "ort"}, ("host", "host", "device")),
    ],
)
def test_a_profile_of_before_is_read_and_told_what_to_write(
    old: dict[str, str], places: tuple[str, str, str], tmp_path: Path
) -> None:
    path = _write(tmp_path, SOUND | old)
    with pytest.warns(OldFormWarning) as told:
        profile = load_profile(path)
    assert (profile.compile_on, profile.evaluate_on, profile.time_on) == places
    compile_on, evaluate_on, time_on = places
    assert str(told[0].message) == (
        f"{path}: in place of `built_on: {old['built_on']}` write `compile_on: {compile_on}`, "
        f"`evaluate_on: {evaluate_on}`, `time_on: {time_on}`"
    )


def test_no_shipped_profile_is_written_as_before() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", OldFormWarning)
        for path in PROFILES.values():
            load_profile(path)


def test_a_profile_cannot_be_changed() -> None:
    profile = load_profile(next(iter(PROFILES.values())))
    with pytest.raises(ValueError, match="frozen"):
        profile.name = "other"  # type: ignore[misc]


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*SOUND, "ship", "options", "notes", "other"]), json_like, max_size=4))
def test_any_data_is_a_sound_profile_or_one_line(changes: dict[str, Any]) -> None:
    try:
        profile = validate(DeviceProfile, SOUND | changes | {"name": "any"}, "any.yaml", ConfigError)
    except ConfigError as exc:
        assert str(exc).startswith("any.yaml: ")
        assert "\n" not in str(exc)
    else:
        assert profile.step >= 1
        assert profile.ship in profile.precisions


def test_a_runtime_is_told_by_the_registry_and_its_schemes_by_itself(tmp_path: Path) -> None:
    chips = {"qnn": {"soc": "SM8650"}, "rknn": {"chip": "rk3588"}}
    for name in known_backends():
        told: dict[str, Any] = {"backend": name, "scheme": get_backend(name).SCHEMES[0]}
        told["precisions"] = get_backend(name).PRECISIONS or SOUND["precisions"]
        told["options"] = dict.fromkeys(told["precisions"], chips.get(name, {}))
        assert load_profile(_write(tmp_path, SOUND | told)).backend == name
    assert "is not one of onnxruntime, openvino, " in _complaint(_write(tmp_path, SOUND | {"backend": "mnn"}))
    float_on_rknn = SOUND | {"backend": "rknn", "scheme": "rknn-s8"}
    assert _complaint(_write(tmp_path, float_on_rknn)) == "precisions: rknn makes int8 only, not fp32"


OWN = """description: my edge PC
arch: [x86_64, aarch64]
backend: onnxruntime
precisions: [fp32]
ship: fp32
channel_step: {fp32: 8}
scheme: ort-u8s8
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the user's own profiles, with one in it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "edgeprune" / "targets"
    folder.mkdir(parents=True)
    (folder / "edge-pc.yaml").write_text(OWN)
    return folder


def test_a_profile_in_the_users_folder_goes_by_its_name(own: Path) -> None:
    (profile,) = resolve_targets(("edge-pc",))
    assert profile == load_profile(own / "edge-pc.yaml")
    assert set(target_files()) == {*FILES, "edge-pc"}


def test_a_profile_of_the_users_stands_in_place_of_a_shipped_one(own: Path) -> None:
    (own / "x86-ort.yaml").write_text(OWN)
    assert resolve_targets(("x86-ort",))[0].description == "my edge PC"
    assert next(one for one in shipped_profiles() if one.name == "x86-ort").description != "my edge PC"


def test_an_alias_of_the_users_comes_before_a_shipped_one(own: Path) -> None:
    (own / "edge-pc.yaml").write_text(OWN + "aliases: [orin, desk]\n")
    assert [profile.name for profile in resolve_targets(("orin", "desk"))] == ["edge-pc"]
    (own / "torn.yaml").write_text("aliases: [")
    assert resolve_targets(("desk",))[0].name == "edge-pc"  # a file that cannot be read has no aliases


def test_an_alias_of_two_profiles_is_refused_with_both(own: Path) -> None:
    for name in ("front", "back"):
        (own / f"{name}.yaml").write_text(OWN + "aliases: [camera]\n")
    for names in (("camera",), ("x86-ort", "camera")):
        with pytest.raises(ConfigError) as told:
            resolve_targets(names)
        assert str(told.value) == (
            f"target 'camera': it is an alias of {own / 'back.yaml'} and of {own / 'front.yaml'}; "
            "take it out of one of them, or name the profile"
        )
    assert [profile.name for profile in resolve_targets(("back", "front"))] == ["back", "front"]
    (own / "mine.yaml").write_text("description: x\nextends: camera\n")
    assert "extends: target 'camera': it is an alias of" in _complaint(own / "mine.yaml")


def test_two_profiles_of_one_name_are_refused_with_both(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, other = _write(tmp_path, SOUND), _write(tmp_path / "other", SOUND)
    with pytest.raises(ConfigError) as told:
        resolve_targets((str(one), str(other)))
    assert str(told.value) == (
        f"two targets go by the name 'board': {one} and {other}; rename one of the files"
    )
    assert len(resolve_targets((str(one), str(tmp_path / "other" / ".." / "board.yaml")))) == 1


def test_two_boards_of_a_kind_share_what_is_built_for_one_of_them() -> None:
    one, other, kind = resolve_targets(("orin-nano", "agx-orin", "jetson"))
    assert one.traits == other.traits == kind.traits


def test_an_option_that_names_a_file_is_told() -> None:
    profile = resolve_targets(("x86-openvino",))[0]
    assert profile.names_path is None
    assert all(one.names_path is None for one in shipped_profiles())
    named = profile.model_copy(update={"options": {"int8": {"CACHE_DIR": "/tmp/cache"}}})
    assert named.names_path == "CACHE_DIR"
