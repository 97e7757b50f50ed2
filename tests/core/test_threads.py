"""How many threads a training takes: the user's word first, also where a library sets the variable later."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ASK = "from edgeprune.core.threads import training_threads; import os; os.environ['OMP_NUM_THREADS'] = '99'; "


@pytest.mark.parametrize(("asked", "expected"), [("3", 3), ("2,1", 2), ("", None), ("many", None)])
def test_the_users_own_number_is_taken_else_all_cores(asked: str, expected: int | None) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ASK + "print(training_threads())"],
        env={**os.environ, "OMP_NUM_THREADS": asked},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert int(ended.stdout) == (expected or len(os.sched_getaffinity(0)))
