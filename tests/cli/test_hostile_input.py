"""Whatever is typed and lies at the paths: an exit code of the table, one line, and nothing else touched.

Every command is run in this process on generated command lines and documents, over the table of commands.
None of them trains or measures: no checkpoint and no engine of the inputs is sound. What would work without
any input of the user's is replaced at its outermost seam, see `_SEAMS`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from edgeprune.verify.doctor import Diagnosis
from hostile import arguments, documents, entered, lay_out, leaves
from made_machines import MACHINE

LEAVES = leaves()
EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "25"))  # more of them look for what is left
README = Path(__file__).parents[2] / "README.md"
REPORTS = {
    "inputs/build/report.html",
    "inputs/build/report.md",
}  # `report` writes them into the folder it is given

CACHED = "cache/ultralytics"  # its settings, which it would keep in the user's home


def _exit_codes() -> set[int]:
    return {
        int(code) for code in re.findall(r"^\| (\d+) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    }


# Name of what works without any input: a diagnosis, a look at this machine and at emulators, an installation.
_SEAMS: dict[str, Any] = {
    "edgeprune.verify.doctor.diagnose": lambda: Diagnosis(
        machine=MACHINE, system=(), packages=(), runtimes=()
    ),
    "edgeprune.bench.inventory.look": lambda places: [],
    "edgeprune.converters.environments.install": lambda name, say: Path(name),
}


def test_the_table_of_exit_codes_is_read() -> None:
    assert _exit_codes() >= {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 130}


@pytest.mark.parametrize("name", LEAVES)
def test_a_command_ends_in_one_line_and_touches_nothing_else(
    run: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, command = LEAVES[name]
    codes = _exit_codes() - {1}
    for seam, instead in _SEAMS.items():
        monkeypatch.setattr(seam, instead)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize="HOSTILE_EXAMPLES" not in os.environ,
        database=None,
        phases=[Phase.generate],  # a command line is read as it was found: to shrink it takes minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(given=arguments(command), document=documents())
    def try_it(given: list[Any], document: bytes) -> None:
        lay_out(place, document)
        line = [*words, *(word(place) if callable(word) else word for word in given)]
        before = {path: state for path, state in place.seen().items() if not path.startswith(CACHED)}
        ended = run(*line)
        told = (line, document, ended)
        assert ended.code in codes, told
        assert not isinstance(ended.exception, Exception), told
        assert "Traceback" not in "".join(ended.errors), told
        if ended.code:
            assert len(ended.errors) == 1 and ended.errors[0].startswith("edgeprune: "), told
        left = REPORTS if name == "report" else set()
        seen = {path: state for path, state in place.seen().items() if not path.startswith(CACHED)}
        assert {path: state for path, state in seen.items() if path not in left} == before, told
        assert (place.outs / "there").is_file(), told

    with entered(tmp_path / "run") as place:
        try_it()
