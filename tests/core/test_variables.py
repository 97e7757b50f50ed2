"""What a result tells of the environment, and what a row of anyone's may be run with: names on a list."""

from __future__ import annotations

import pytest

from edgeprune.config.targets import target_files
from edgeprune.core.documents import read_mapping
from edgeprune.core.errors import ConfigError
from edgeprune.core.variables import TOLD, TUNING, require_tuning, told_of


def test_a_secret_that_begins_like_a_setting_is_not_told() -> None:
    names = ("OPENVINO_TOKEN", "OMP_PASSWORD", "ORT_KEY", "CUDA_SECRET", "LD_PRELOAD_TOKEN", "PATH", "HOME")
    assert told_of(dict.fromkeys(names, "hush") | {"OMP_NUM_THREADS": "2"}) == {"OMP_NUM_THREADS": "2"}


def test_no_name_on_a_list_is_that_of_a_secret() -> None:
    assert not [name for name in TOLD for word in ("TOKEN", "PASS", "SECRET", "AUTH") if word in name]
    assert len(set(TOLD)) == len(TOLD)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LD_PRELOAD", "evil.so"),
        ("PYTHONPATH", "x"),
        ("PATH", "x"),
        ("CUDA_CACHE_PATH", "x"),
        ("GLIBC_TUNABLES", "x"),
        ("OMP_NUM_THREADS\n", "1"),
        ("", "1"),
        ("OMP_PLACES", "/etc/passwd"),
        ("OMP_PLACES", "a\nb"),
        ("OMP_PLACES", "a\0b"),
        ("OMP_PLACES", "1" * 1000),
    ],
)
def test_a_row_cannot_be_run_with_what_names_files_or_code(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"variable|value"):
        require_tuning({name: value})


def test_what_shipped_profiles_try_may_be_set() -> None:
    tried = [
        variables
        for path in target_files().values()
        for choices in (read_mapping(path, ConfigError).get("environments") or {}).values()
        for variables in choices
    ]
    assert tried and [require_tuning(variables) for variables in tried] == tried
    assert set(TUNING) < set(TOLD)
