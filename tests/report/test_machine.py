"""The machine in words: no seconds since 1970, no largest number of the kernel, no raw search path."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgeprune.report.machine import date_words, device_words, machine_facts, time_words
from edgeprune.worker.environment import read_environment

TOLD: dict[str, Any] = {
    "board": None,
    "cpu": "Test CPU",
    "machine": "x86_64",
    "cores": 8,
    "affinity": [0, 1, 2, 5],
    "time": 1795916886.1996765,
    "cgroup": {"cpu": "-1 100000", "memory": "9223372036854771712"},
    "memory_kb": {"MemTotal": 24684084, "MemAvailable": 18740476, "SwapTotal": 0, "SwapFree": 0},
    "frequency": {
        f"cpu{index}": {"scaling_governor": "performance", "scaling_min_freq": "800000",
                        "scaling_max_freq": "3600000", "scaling_cur_freq": None}
        for index in range(2)
    },
    "thermal_c": {"zone0 cpu": 61.4, "zone1 wifi": 40.0},
    "variables": {"LD_LIBRARY_PATH": "/opt/a:/opt/b", "OMP_NUM_THREADS": "1"},
}  # fmt: skip


def test_numbers_are_told_as_people_say_them() -> None:
    assert machine_facts(TOLD) == {
        "processor": "Test CPU",
        "architecture": "x86_64",
        "cores": "8",
        "cores allowed": "0–2, 5",
        "clocks": "governor performance, 0.80 to 3.60 GHz",
        "memory": "25.3 GB, 19.2 GB of it free; swap: none",
        "limits of the container": "CPU unlimited, memory unlimited",
        "read at": "2026-11-29 01:48 UTC",
        "temperature": "hottest 61 °C (zone0 cpu)",
        "variables": "LD_LIBRARY_PATH (2 entries), OMP_NUM_THREADS=1",
        "not told here": "board",
    }
    limited = machine_facts({"cgroup": {"cpu": "150000 100000", "memory": "2000000000"}})
    assert limited == {"limits of the container": "CPU 1.5 cores, memory 2.0 GB"}
    assert (time_words(2.5), time_words(611), time_words(7260)) == ("2.5 s", "10 min 11 s", "2 h 1 min")
    assert date_words("2026-11-29T01:48:06+00:00") == "2026-11-29 01:48 UTC"


def test_this_machine_is_told_without_raw_numbers() -> None:
    environment = read_environment()
    facts = machine_facts(environment)
    assert "922337" not in " ".join(facts.values()) and str(int(environment["time"])) not in str(facts)
    assert f", {environment['cores']} core" in device_words(environment)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*TOLD, "load", "gpus", "jetson", "capacity", "other"]), JSON))
def test_a_damaged_record_is_shown_and_no_error(environment: dict[str, Any]) -> None:
    assert all(isinstance(text, str) for text in machine_facts(environment).values())
    assert isinstance(device_words(environment), str) and isinstance(date_words(environment.get("time")), str)
