"""What NVIDIA's and Android's own programs print, as recorded: read, and never an error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.worker.sensors import android, files, jetson
from edgeprune.worker.sensors.tegrastats import parse_tegrastats
from recorded import SENSORS, Record, Recorded

LINES = (SENSORS / "tegrastats.txt").read_text().splitlines()
TX1, TX2, NANO, AGX_XAVIER, XAVIER_NX, ORIN_NX, AGX_ORIN, AGX_ORIN_35, TX2_NX = range(9)


def _told(device: int) -> dict[str, Any]:
    told = parse_tegrastats(LINES[device])
    assert told is not None
    return told


@pytest.mark.parametrize(
    ("device", "rails"),
    [
        (TX1, {"VDD_IN": 2.532, "VDD_CPU": 0.076, "VDD_GPU": 0.019}),
        (NANO, {"POM_5V_IN": 1.022, "POM_5V_GPU": 0.0, "POM_5V_CPU": 0.204}),
        (
            AGX_XAVIER,
            {"GPU": 0.0, "CPU": 0.311, "SOC": 0.932, "CV": 0.0, "VDDRQ": 0.621, "SYS5V": 1.482},
        ),
        (ORIN_NX, {"VDD_IN": 5.299, "VDD_CPU_GPU_CV": 0.773, "VDD_SOC": 1.424}),
        (AGX_ORIN, {"VDD_GPU_SOC": 3.205, "VDD_CPU_CV": 4.405, "VIN_SYS_5V0": 4.767}),
        (TX2_NX, {}),
    ],
)
def test_rails_with_and_without_units(device: int, rails: dict[str, float]) -> None:
    assert _told(device)["rails_w"] == rails


def test_rails_of_thor_have_three_numbers_or_one() -> None:
    # As users of JetPack 7 report them: now, mean and most, or the present one alone.
    line = "RAM 8182/62817MB (lfb 6x4MB) CPU [18%@729] cpu@51.343C/51.343C VDD_GPU 5517mW VIN 28mW/29mW/30mW"
    told = parse_tegrastats(line)
    assert told and told["rails_w"] == {"VDD_GPU": 5.517, "VIN": 0.028}
    assert told["temp_c"] == {"cpu": 51.343}


@pytest.mark.parametrize(
    ("said", "gpu"),
    [
        ("GR3D_FREQ @[1575,1575,1575]", (None, 1575)),  # JetPack 7 on Thor, as its users report it
        ("GR3D_FREQ @[0,1197]", (None, 1197)),
        ("GR3D_FREQ 62%@[611,0]", (62, 611)),
        ("GR3D_FREQ 0%@305", (0, 305)),
        ("GR3D_FREQ 0%", (0, None)),
        ("GR3D_FREQ @[]", (None, None)),
        ("GR3D_FREQ off", (None, None)),
    ],
)
def test_the_clock_of_the_gpu_in_every_form(said: str, gpu: tuple[int | None, int | None]) -> None:
    told = parse_tegrastats(f"RAM 8182/62817MB (lfb 6x4MB) {said} VDD_GPU 5517mW")
    assert told and (told["gpu_load_pct"], told["gpu_mhz"]) == gpu and told["rails_w"]["VDD_GPU"] == 5.517


@pytest.mark.parametrize(
    ("device", "gpu", "emc"),
    [
        (TX2, (0, 624), (4, 1600)),
        (XAVIER_NX, (62, 306), (10, 1600)),
        (AGX_ORIN, (0, 305), (1, 2133)),
        (AGX_ORIN_35, (0, None), (None, None)),
        (TX2_NX, (0, None), (0, None)),
    ],
)
def test_load_and_clock_of_gpu_and_memory(
    device: int, gpu: tuple[int, int | None], emc: tuple[int | None, int | None]
) -> None:
    told = _told(device)
    assert (told["gpu_load_pct"], told["gpu_mhz"]) == gpu
    assert (told["emc_load_pct"], told["emc_mhz"]) == emc


def test_cores_that_are_off_have_no_clock() -> None:
    assert _told(TX2)["cpu_mhz"] == [345, None, None, 345, 345, 345]
    assert _told(XAVIER_NX)["cpu_mhz"] == [1190] * 5 + [1267]


def test_temperatures_and_memory() -> None:
    told = _told(ORIN_NX)
    assert told["ram_mb"] == [6334, 15388]
    assert told["temp_c"]["tj"] == 48.875
    assert len(told["temp_c"]) == 9
    off = parse_tegrastats("RAM 2818/62832MB (lfb 966x4MB) CV0@-256C tj@38.0C")  # an engine without power
    assert off and off["temp_c"] == {"tj": 38.0}


@given(st.text() | st.builds("RAM 1/2MB {}".format, st.text()))
def test_any_line_is_tegrastats_or_none(line: str) -> None:
    told = parse_tegrastats(line)
    assert told is None or told["ram_mb"]


@given(st.sampled_from(LINES), st.integers(0, 200))
def test_a_line_that_is_cut_off_is_no_error(line: str, end: int) -> None:
    told = parse_tegrastats(line[:end])
    assert told is None or told["ram_mb"]


def test_a_jetson_as_it_boots(recorded: Record) -> None:
    device = recorded("jetson-orin-nano")
    for name, text in (("governor", "nvhost_podgov"), ("min_freq", "306000000"), ("max_freq", "612000000")):
        device.write(f"/sys/class/devfreq/17000000.gpu/{name}", text)
    assert jetson.read_jetson(device.root, device.ask) == {
        "l4t": "36.4.7",
        "power_mode": "15W",
        "gpu": {
            "governor": "nvhost_podgov", "min_freq": "306000000", "max_freq": "612000000", "cur_freq": None,
        },
        "emc": {"rate": None, "max_rate": None, "mrq_rate_locked": None},
        "clocks_locked": False,
        "fan_pwm": None,
    }  # fmt: skip


def test_a_jetson_whose_clocks_are_held(recorded: Record) -> None:
    said = recorded("jetson-nano").said
    assert jetson.parse_power_mode(said["nvpmodel -q"]) == "MAXN"
    assert jetson.parse_clocks_locked(said["jetson_clocks --show"]) is True


def test_another_machine_is_no_jetson(nothing: Recorded) -> None:
    assert jetson.read_jetson(nothing.root, nothing.ask) is None
    assert jetson.parse_clocks_locked(None) is None
    assert jetson.parse_power_mode("") is None
    assert jetson.parse_release("Ubuntu") is None


def test_the_thermal_status_of_an_android(recorded: Record) -> None:
    text = recorded("galaxy-a52").said["dumpsys thermalservice"]
    assert android.parse_thermal_status(text) == 0
    assert android.parse_thermal_status(text.replace("Thermal Status: 0", "Thermal Status: 3")) == 3
    temperatures = android.parse_temperatures(text)
    assert temperatures and temperatures["AP"] == 25.6 and len(temperatures) == 9


@pytest.mark.parametrize(
    ("device", "battery"),
    [
        ("galaxy", {"status": "charging", "level": 84, "temp_c": 32.6, "powered_by": ["USB"]}),
        ("android-box", {"status": "not charging", "level": 90, "temp_c": 2.6, "powered_by": []}),
    ],
)
def test_the_battery_of_an_android(recorded: Record, device: str, battery: dict[str, Any]) -> None:
    assert android.parse_battery(recorded(device).said["dumpsys battery"]) == battery


def test_an_android_tells_what_its_programs_do(recorded: Record, nothing: Recorded) -> None:
    device = recorded("galaxy-a52")
    device.said["getprop ro.build.fingerprint"] = (
        "samsung/a52xqnaxx/a52xq:12/SP1A.210812.016:user/release-keys"
    )
    device.said["dumpsys power"] = "POWER MANAGER (dumpsys power)\n\n  mWakefulness=Awake\n"
    told = android.read_android(device.ask)
    assert told and told["thermal_status"] == 0 and told["screen"] == "Awake"
    assert told["battery"] is None and told["soc"] is None
    assert android.read_android(nothing.ask) is None


@given(st.text())
def test_no_output_of_an_android_is_an_error(text: str) -> None:
    assert android.parse_thermal_status(text) is None or "Thermal Status" in text
    android.parse_battery(text)
    android.parse_battery(f"status: {text}")
    android.parse_temperatures(text)
    android.parse_screen(text)


def test_a_program_that_is_absent_fails_or_hangs_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.said_by("no-such-program-anywhere") is None
    assert files.said_by("false") is None
    assert files.said_by("true") is None
    assert files.said_by("echo", "hello") == "hello"
    monkeypatch.setattr(files, "PATIENCE_S", 0.01)
    assert files.said_by("sleep", "60") is None
