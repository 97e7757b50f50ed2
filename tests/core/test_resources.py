"""Where the user's own files lie, also for a user whom the system does not know."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from edgeprune.converters.environments import install
from edgeprune.core.errors import ConfigError
from edgeprune.core.resources import cache_dir, config_dir
from edgeprune.core.scratch import private_temporary_folder


@pytest.fixture
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user without HOME, without a name, and without an entry in passwd, as in many containers."""
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("EDGEPRUNE_CACHE", raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.usefixtures("_nobody")
def test_a_user_without_a_home_is_told_what_to_set() -> None:
    for place, variable in ((config_dir, "XDG_CONFIG_HOME"), (cache_dir, "XDG_CACHE_HOME")):
        with pytest.raises(ConfigError, match=f"no home folder is known here: set HOME, or {variable}$"):
            place()


@pytest.mark.usefixtures("_nobody")
def test_a_command_has_a_home_for_its_run_in_which_nothing_is_installed() -> None:
    import getpass

    with private_temporary_folder():
        assert tempfile.gettempdir() in str(config_dir()) and str(Path.home()) == os.environ["HOME"]
        assert getpass.getuser() == f"user{os.getuid()}"
        with pytest.raises(ConfigError, match="nothing stays: set HOME, or EDGEPRUNE_CACHE"):
            install("litert", lambda text: None)
    assert "HOME" not in os.environ and "USER" not in os.environ


def test_variables_of_the_user_win(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert (cache_dir(), config_dir()) == (tmp_path / "own", tmp_path / "config" / "edgeprune")
