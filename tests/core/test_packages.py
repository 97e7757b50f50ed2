"""What is installed is told by the metadata of packages: names of distributions and modules, versions."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from edgeprune.core.packages import (
    UNKNOWN,
    distribution_named,
    distributions_of,
    module_version,
    modules_of,
    name_of,
    version_of,
    versions_of,
)


def test_a_distribution_is_found_in_any_spelling_and_by_its_module() -> None:
    found = distribution_named("PyYAML")
    assert found and distribution_named("pyyaml") and "yaml" in modules_of(found)
    assert name_of(found) in {name_of(one) for one in distributions_of("yaml")}
    assert distribution_named("no-such-thing") is None and not list(distributions_of("no_such_thing"))


def test_versions_are_those_of_the_metadata() -> None:
    assert (
        module_version("yaml", "PyYAML")
        == module_version("yaml", "no-such-thing")
        == metadata.version("PyYAML")
    )
    assert module_version("no_such_thing", "PyYAML") is None
    assert versions_of(("numpy", "no_such_thing")) == {"numpy": metadata.version("numpy")}


@pytest.mark.parametrize("fields", [b"", b"Name: hurt\n", b"\xff\xfe\x00Version: 1"])
def test_damaged_metadata_is_no_error(fields: bytes, tmp_path: Path) -> None:
    info = tmp_path / "hurt-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_bytes(fields)
    (info / "RECORD").write_bytes(b"\xff\xfe")
    found = metadata.PathDistribution(info)
    assert version_of(found) == UNKNOWN and name_of(found) in (UNKNOWN, "hurt")
    assert modules_of(found) == ()
