"""Power, energy counters and memory, read on recorded devices; a GPU that NVML would tell of is played."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.worker.sensors import jit_cache, memory, nvidia, odpm, rails, rapl, supply
from recorded import Record, Recorded


def test_a_device_that_tells_nothing_is_unknown(nothing: Recorded) -> None:
    assert rails.read_rails_w(nothing.root) is None
    assert rapl.read_counters(nothing.root) is None
    assert odpm.read_meters(nothing.root) is None
    assert supply.read_batteries(nothing.root) is None
    assert memory.read_machine_memory(nothing.root) == {}
    assert memory.read_swapped_pages(nothing.root) == {}
    assert memory.read_status("VmHWM", root=nothing.root) is None
    assert memory.read_resident(root=nothing.root) is None
    assert memory.read_device_memory(1, nothing.root) is None


def test_rails_of_a_jetson_are_volts_times_amperes_of_what_is_connected(recorded: Record) -> None:
    found = rails.read_rails_w(recorded("jetson-agx-orin").root)
    assert found == pytest.approx(
        {
            "VDD_GPU_SOC": 19.904 * 0.161,
            "VDD_CPU_CV": 19.904 * 0.020,
            "VIN_SYS_5V0": 4.992 * 0.505,
            "VDDQ_VDD2_1V8AO": 4.992 * 0.101,
        }
    )


@pytest.mark.parametrize(
    ("told", "added"),
    [
        (("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), ("VDD_IN",)),  # Orin Nano and NX, Xavier NX, TX2
        (("POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"), ("POM_5V_IN",)),  # Nano
        (("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), ("VDD_CPU_CV", "VDD_GPU_SOC", "VIN_SYS_5V0")),
        (("VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"), ("VIN_SYS_5V0",)),  # AGX Orin's memory is fed by the other
        (("VIN", "VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"), ("VIN",)),  # Thor
        ((), ()),
    ],
)
def test_no_rail_is_counted_twice(told: tuple[str, ...], added: tuple[str, ...]) -> None:
    assert rails.summands(told) == added


def test_the_input_of_a_jetson_thor_is_told_in_microwatts(nothing: Recorded) -> None:
    # As the kernel documents the INA238 (Documentation/hwmon/ina238.rst).
    nothing.write("/sys/class/hwmon/hwmon5/name", "ina238\n")
    nothing.write("/sys/class/hwmon/hwmon5/power1_input", "28548000\n")
    assert rails.read_rails_w(nothing.root) == {"VIN": 28.548}


def test_rapl_counts_packages_and_memory_and_nothing_twice(recorded: Record) -> None:
    laptop, desktop = recorded("intel-laptop"), recorded("intel-desktop")
    assert rapl.read_counters(laptop.root) == {"package-0": rapl.Counter(26963529117, 262143328850)}
    assert rapl.read_counters(desktop.root) == {"package-0/dram": rapl.Counter(2469474853, 262143999938)}
    desktop.write("/sys/class/powercap/intel-rapl:1/name", "psys\n")
    desktop.write("/sys/class/powercap/intel-rapl:1/energy_uj", "1\n")
    desktop.write("/sys/class/powercap/intel-rapl:1/max_energy_range_uj", "2\n")
    assert set(rapl.read_counters(desktop.root) or ()) == {"package-0/dram"}


@given(st.integers(1, 2**40), st.data())
def test_a_counter_that_wraps_tells_what_was_spent(whole: int, data: st.DataObject) -> None:
    start, spent = data.draw(st.integers(0, whole - 1)), data.draw(st.integers(0, whole - 1))
    before, after = (rapl.Counter(value, whole) for value in (start, (start + spent) % whole))
    assert rapl.spent_j(before, after) == pytest.approx(spent / 1e6)


def test_a_pixels_monitors_count_eight_rails_each(recorded: Record) -> None:
    pixel = recorded("pixel-6")
    meters = odpm.read_meters(pixel.root) or {}
    assert {name: (meter.at_ms, len(meter.energy_uj)) for name, meter in meters.items()} == {
        "s2mpg10-odpm": (349894, 8),
        "s2mpg11-odpm": (359458, 8),
    }
    assert meters["s2mpg10-odpm"].energy_uj["S4M_VDD_CPUCL0"] == 46356942
    pixel.write("/sys/bus/iio/devices/iio:device0/name", "tcs3408\n")  # a light sensor is none
    pixel.write("/sys/bus/iio/devices/iio:device1/energy_value", "odpm: cannot retrieve energy values")
    assert odpm.read_meters(pixel.root) is None


def test_power_of_a_rail_is_by_the_monitors_own_clock() -> None:
    before = odpm.Meter(1000, {"CPU": 5_000_000, "TPU": 9_000_000, "GPS": 1})
    after = odpm.Meter(3000, {"CPU": 8_000_000, "TPU": 70, "GPU": 1})  # two channels were given other rails
    assert odpm.mean_w(before, after) == {"CPU": pytest.approx(1.5)}


@given(st.text(max_size=200))
def test_no_text_is_an_energy_that_is_not_there(text: str) -> None:
    assert odpm.parse_energy(text) is None
    assert odpm.parse_energy(f"t=5\n{text}\nCH0(T=5)[RAIL], 7\n") is not None


def test_memory_of_a_virtual_machine(recorded: Record) -> None:
    root = recorded("cloud-vm").root
    whole = memory.read_machine_memory(root)
    assert whole["MemTotal"] > whole["MemAvailable"] > 0
    assert set(memory.read_swapped_pages(root)) == {"pswpin", "pswpout"}
    assert memory.read_status("VmRSS", 1, root) == 1760
    assert memory.read_status("VmSwap", 1, root) == 0
    assert memory.read_resident(1, root) == memory.Resident(1720, 194, "/proc/1/smaps_rollup")


def test_memory_of_this_process_is_its_own() -> None:
    own = memory.read_resident()
    assert own and own.rss_kb > 1000
    assert own.pss_kb is None or 0 < own.pss_kb <= own.rss_kb
    assert own.rss_kb == pytest.approx(memory.read_status("VmRSS", os.getpid()), rel=0.1)


def test_resident_memory_is_read_elsewhere_where_its_map_is_hidden(nothing: Recorded) -> None:
    nothing.write("/proc/7/statm", "765 440 393 5 0 86 0\n")
    found = memory.read_resident(7, nothing.root)
    assert found == memory.Resident(440 * os.sysconf("SC_PAGE_SIZE") // 1024, None, "/proc/7/statm")
    nothing.write("/proc/8/statm", "garbage")
    assert memory.read_resident(8, nothing.root) is None


def test_memory_of_a_jetsons_gpu_is_summed_over_a_process(nothing: Recorded) -> None:
    # As NvMap lists its clients; a process may have several, and blanks in its name.
    nothing.write(
        "/sys/kernel/debug/nvmap/iovmm/clients",
        "CLIENT                        PROCESS      PID        SIZE\n"
        "user                           python3    12345     65536K\n"
        "user                           python3    12345         1M\n"
        "user                        gnome shell    1234      4096K\n"
        "total                                                69632K\n",
    )
    assert memory.read_device_memory(12345, nothing.root) == (
        (65536 * 1024 + 1024**2) / 1e6,
        "NvMap, memory of the process (debugfs)",
    )
    assert memory.read_device_memory(99, nothing.root) is None


@given(st.text(max_size=200))
def test_no_text_of_a_device_is_an_error(text: str) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        device = Recorded(Path(folder))
        clean = text.encode(errors="replace").decode()
        for path in ("proc/meminfo", "proc/1/status", "proc/1/smaps_rollup", "proc/1/statm",
                     "sys/kernel/debug/nvmap/iovmm/clients", "sys/class/powercap/intel-rapl:0/name",
                     "sys/class/hwmon/hwmon0/name", "sys/class/hwmon/hwmon0/in1_label"):  # fmt: skip
            device.write(path, clean)
        assert all(kb >= 0 for kb in memory.read_machine_memory(device.root).values())
        status, resident = memory.read_status("VmRSS", 1, device.root), memory.read_resident(1, device.root)
        assert status is None or status >= 0
        assert resident is None or resident.rss_kb >= 0
        held = memory.read_device_memory(1, device.root)
        assert held is None or (held[0] >= 0 and held[1])
        assert rapl.read_counters(device.root) is None  # a counter needs its numbers, and these are not there
        assert rails.read_rails_w(device.root) is None


def test_batteries_have_a_state_and_mains_have_none(nothing: Recorded) -> None:
    nothing.write("/sys/class/power_supply/AC/type", "Mains\n")
    nothing.write("/sys/class/power_supply/BAT0/type", "Battery\n")
    nothing.write("/sys/class/power_supply/BAT0/status", "Charging\n")
    assert supply.read_batteries(nothing.root) == {"BAT0": "Charging"}


def test_the_cache_of_compiled_kernels_is_measured(
    nothing: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_CACHE_PATH", str(nothing.root))
    assert jit_cache.read_jit_cache() is None
    nothing.write("a/b/kernel", "12345")
    nothing.write("index", "1")
    assert jit_cache.read_jit_cache() == 6


class _NVMLError(Exception):
    pass


def _nvml(**answers: Any) -> SimpleNamespace:
    """Play nvidia-ml-py with one GPU; what is not given is not supported."""

    def unsupported(*_: Any) -> Any:
        raise _NVMLError("Not Supported")

    names = ("nvmlSystemGetDriverVersion", "nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo",
             "nvmlDeviceGetTemperature", "nvmlDeviceGetClockInfo", "nvmlDeviceGetPowerUsage",
             "nvmlDeviceGetCurrentClocksThrottleReasons", "nvmlDeviceGetComputeRunningProcesses")  # fmt: skip
    told = {
        name: (lambda *_, value=answers[name]: value) if name in answers else unsupported for name in names
    }
    return SimpleNamespace(
        NVMLError=_NVMLError, NVML_TEMPERATURE_GPU=0, NVML_CLOCK_SM=1, nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1, nvmlDeviceGetHandleByIndex=lambda index: index, **told,
    )  # fmt: skip


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Any:
    def play(**answers: Any) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", _nvml(**answers))
        nvidia._nvml.cache_clear()

    yield play
    nvidia._nvml.cache_clear()


def test_a_gpu_tells_what_it_can(nvml: Any) -> None:
    process = SimpleNamespace(pid=7, usedGpuMemory=300_000_000)
    nvml(
        nvmlSystemGetDriverVersion="595.78",
        nvmlDeviceGetName=b"NVIDIA RTX A2000",
        nvmlDeviceGetMemoryInfo=SimpleNamespace(total=6_000_000_000, used=400_000_000),
        nvmlDeviceGetPowerUsage=21_500,
        nvmlDeviceGetCurrentClocksThrottleReasons=0x44,  # heat, and the power cap, which is no fault
        nvmlDeviceGetComputeRunningProcesses=[process, SimpleNamespace(pid=8, usedGpuMemory=1)],
    )
    (gpu,) = nvidia.read_gpus() or ()
    assert gpu == {
        "name": "NVIDIA RTX A2000",
        "driver": "595.78",
        "memory_mb": 6000.0,
        "memory_used_mb": 400.0,
        "temp_c": None,
        "sm_mhz": None,
        "power_w": 21.5,
        "slowdown": 0x40,
    }
    assert nvidia.slowdown_words(gpu["slowdown"]) == "hardware thermal slowdown"
    assert nvidia.read_process_mb(7) == 300.0
    assert nvidia.read_process_mb(9) is None


def test_a_jetsons_gpu_is_known_by_name_alone(nvml: Any) -> None:
    # HazyResearch/intelligence-per-watt issue 40: NVML answers on a Jetson, and supports nearly nothing.
    nvml(nvmlDeviceGetName="Orin (nvgpu)")
    (gpu,) = nvidia.read_gpus() or ()
    assert {key for key, value in gpu.items() if value is not None} == {"name"}
    assert nvidia.read_process_mb(1) is None


def test_without_nvml_there_is_no_gpu() -> None:
    code = (
        "import sys; sys.modules['pynvml'] = None\n"
        "from edgeprune.worker.sensors import nvidia; print(nvidia.read_gpus(), nvidia.read_process_mb(1))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None None\n"
