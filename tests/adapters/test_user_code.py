"""The user's own code: what it imports from beside it is a part of what results depend on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.adapters.user_code import code_key

FILES = {
    "my_net.py": "import numpy\nfrom blocks import Block\n\ndef later():\n    import layers.inner.deep\n",
    "blocks.py": "import widths\nimport my_net\nclass Block: ...\n",
    "widths.py": "FIRST = 8\n",
    "layers/__init__.py": "",
    "layers/inner/__init__.py": "from . import deep\n",
    "layers/inner/deep.py": "STEPS = 3\n",
    "unused.py": "",
    "numpy.txt": "",
}


@pytest.fixture
def code(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path / "my_net.py"


@pytest.mark.parametrize("name", [name for name in FILES if name not in {"unused.py", "numpy.txt"}])
def test_a_change_of_what_is_imported_changes_the_key(code: Path, name: str) -> None:
    before = code_key(code)
    (code.parent / name).write_text(FILES[name] + "# changed\n")
    assert code_key(code) != before


def test_what_is_not_imported_and_where_it_lies_do_not_matter(code: Path, tmp_path: Path) -> None:
    before = code_key(code)
    (code.parent / "unused.py").write_text("1 +\n")
    moved = code.parent.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    assert code_key(moved / code.name) == before
    (moved / "widths.py").write_text("no python (\n")
    assert code_key(moved / code.name) != before
