"""What the device's own Python refuses, which takes another user there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeprune.runners import onboard


@pytest.mark.parametrize("whose", ["", "files", "venv"])
def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    folder = tmp_path / whose
    folder.mkdir(exist_ok=True)
    me = os.getuid()
    if me == 0:  # what is root's may be used by others, so it is given to someone
        os.chown(folder, 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(PermissionError, match="it belongs to another user: name another folder") as caught:
        onboard.open_work(str(tmp_path))
    assert caught.value.filename == str(tmp_path if me else folder)
    assert not list(tmp_path.glob("work-*"))
