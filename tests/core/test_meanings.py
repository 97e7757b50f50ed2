"""Targets are suggested by what a word means; letters only decide slips; what there is not is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.config.targets import resolve_targets, target_files, target_names
from edgeprune.core.errors import ConfigError, which_target
from edgeprune.core.meanings import SYNONYMS, TARGETS

ARM, PHONE = "arm64-ort, arm64-ncnn or arm64-openvino", "android-ort, android-litert or android-executorch"
PI = f"rpi5, rpi4, {ARM}"
FILES, NAMES = tuple(target_files()), tuple(target_names())


@pytest.mark.parametrize(
    ("word", "taken"),
    [
        *(
            (word, ARM)
            for word in (
                "aarch64",
                "tda4vm",
                "beaglebone",
            )
        ),
        *((word, PI) for word in ("rpi6", "pi-hole", "rpi0-2w", "raspberry")),
        *((word, "jetson, orin-nano, orin-nx or agx-orin") for word in ("jetpack", "deepstream", "tegra")),
        ("jetson-nano", "xavier"),
        ("nx", "jetson, orin-nano, orin-nx or agx-orin"),
        ("nvdla", "jetson-dla"),
        *((word, "jetson") for word in ("tensorrt", "trt")),
        *(
            (word, "x86-openvino, x86-ort or x86-ncnn")
            for word in ("xeon", "i7", "x86_64", "laptop", "j4125", "wsl")
        ),
        *((word, f"rk3588, rk3576, rk3566, {ARM}") for word in ("orangepi5", "opi5", "rockchip", "radxa")),
        *((word, PHONE) for word in ("phone", "galaxy-s24", "xiaomi14")),
        ("onnxruntime", "x86-ort, arm64-ort or android-ort"),
        ("ort", "x86-ort, arm64-ort or android-ort"),
        ("tflite", "x86-litert or android-litert"),
        ("intel-gpu", "intel-gpu-openvino"),
        ("localhost", "cpu"),
    ],
)
def test_a_word_gets_the_targets_that_it_means(word: str, taken: str) -> None:
    assert which_target(word, NAMES).endswith(f": --target {taken}")


@pytest.mark.parametrize(
    ("word", "said", "nearest"),
    [
        ("gpu", "there is a target for the GPU of a Jetson and one for Intel's, none for others", "jetson"),
        ("cuda", "there is no target for an NVIDIA GPU of a workstation or server", "jetson"),
        ("rtx4090", "there is no target for an NVIDIA GPU of a workstation or server", "jetson"),
        (
            "npu",
            "an NPU of Qualcomm or Rockchip, by its chip, or of an Intel Core Ultra",
            "snapdragon-8gen2, snapdragon-8gen3, snapdragon-8elite, qcs6490, rk3588, rk3576, rk3566 or intel",
        ),
        ("snapdragon", "Qualcomm's NPU, by its chip", "snapdragon-8gen2"),
        ("coral", "there is no target for this accelerator", "arm64-ort"),
        ("hailo8", "there is no target for this accelerator", "arm64-ort"),
        ("m1", "there is no target for Apple's devices", None),
        ("mac", "there is no target for Apple's devices", None),
        ("ios", "there is no target for Apple's devices", None),
        ("stm32", "there is no target for microcontrollers", None),
    ],
)
def test_what_there_is_no_target_for_is_said_with_the_nearest(
    word: str, said: str, nearest: str | None
) -> None:
    hint = which_target(word, NAMES)
    assert hint.startswith(f": {said}")
    assert (f"--target {nearest}" in hint) if nearest else ("--target" not in hint)
    assert "'cpu'" not in hint


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("jetsn", "jetson"),
        ("x86-openvin", "x86-openvino"),
        ("cpuu", "cpu"),
        ("CPU", "cpu"),
        ("x86_ort", "x86-ort"),
        ("rpi", "rpi5"),
        ("orin_nano", "orin-nano"),
        ("Jetson Xavier", "jetson-xavier"),
        ("pixel9", "pixel8"),
    ],
)
def test_a_slip_gets_the_target_that_was_meant(slip: str, meant: str) -> None:
    assert which_target(slip, NAMES) == f" (did you mean {meant!r}?)"


def test_nothing_is_made_up_for_a_word_without_meaning() -> None:
    assert which_target("quartz", NAMES) == which_target("", NAMES) == ""


def test_the_table_names_shipped_targets_only_and_each_word_once() -> None:
    assert {target for meaning in TARGETS for target in meaning.targets} <= set(FILES)
    words = [word for meaning in TARGETS for word in meaning.words]
    assert len(words) == len(set(words))
    assert all(word == word.lower() for word in (*words, *SYNONYMS))


@given(st.text(max_size=30))
def test_any_text_gets_an_answer_in_one_line(word: str) -> None:
    assert "\n" not in which_target(word, NAMES)


def test_all_unknown_targets_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"'rpi6': a Raspberry Pi .*; unknown target 'npu': an NPU of"):
        resolve_targets(("rpi6", "cpu", "npu"))
