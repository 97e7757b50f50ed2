"""The size of an input as a user gives it: one reading for the command line and the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.cli.numbers import number
from edgeprune.config.input_size import read_size
from edgeprune.config.recipe import Recipe, load_recipe
from edgeprune.core.errors import ConfigError


@given(st.integers(32, 4096), st.integers(32, 4096), st.sampled_from("x,"))
def test_height_and_width_are_read_as_they_are_written(height: int, width: int, between: str) -> None:
    size = height if height == width else (height, width)
    written = f"{height}{between}{width}"
    assert read_size(written) == read_size([height, width]) == read_size((height, width)) == size
    assert number("imgsz").convert(written, None, None) == size
    assert load_recipe(None, (f"imgsz={written}",)).imgsz == size


@pytest.mark.parametrize("text", ["384x640", "'384,640'", "[384, 640]"])
def test_a_recipe_keeps_height_and_width_and_reads_them_again(text: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(f"imgsz: {text}\n")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert recipe.imgsz == (384, 640)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("384x", "not a size in pixels: 640, or height and width such as 384x640, is expected"),
        ("384x640x3", "not a size in pixels"),
        ("384.5x640", "not a size in pixels"),
        ([384, 640, 3], "not a size in pixels"),
        ([True], "not a size in pixels"),
        (None, "not a size in pixels"),
        ("16x640", "16 is not in the range 32<=x<=4096"),
        ("640x99999", "99999 is not in the range 32<=x<=4096"),
    ],
)
def test_what_is_no_size_is_refused(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_size(value)
    if isinstance(value, str):
        with pytest.raises(click.BadParameter, match=said):
            number("imgsz").convert(value, None, None)
        with pytest.raises(ConfigError, match=f"imgsz: .*{said}"):
            load_recipe(None, (f"imgsz={value}",))
