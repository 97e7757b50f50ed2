"""Recipes: later sources win, defaults are sound, a mistake names its option and what was meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.config.recipe import Recipe, load_recipe
from edgeprune.core.errors import ConfigError


def test_no_source_gives_the_defaults() -> None:
    assert load_recipe() == Recipe()


def test_later_sources_win(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("seed: 1\nprune: {criterion: l1, ratio: 0.1}\nfinetune: {epochs: 1}\n")
    recipe = load_recipe(
        path, ("prune.ratio=0.2", "finetune.epochs=2"), finetune__epochs=3, budget__min_fps=None
    )
    assert recipe.seed == 1
    assert recipe.prune.criterion == "l1"
    assert recipe.prune.ratio == 0.2
    assert recipe.finetune.epochs == 3
    assert recipe.budget == Recipe().budget


@pytest.mark.parametrize(
    ("assignment", "read"),
    [
        ("prune.ratio=null", lambda recipe: recipe.prune.ratio is None),
        ("finetune.lr0=1e-3", lambda recipe: recipe.finetune.lr0 == 0.001),
        ("prune.enabled=no", lambda recipe: recipe.prune.enabled is False),
        ("prune.skip=[model.0.*, model.1.*]", lambda recipe: recipe.prune.skip == ("model.0.*", "model.1.*")),
        ('prune.ratios={"model.4.*": 0.5}', lambda recipe: recipe.prune.ratios == {"model.4.*": 0.5}),
        ("prune.combine=[1, 0]", lambda recipe: recipe.prune.combine == (1.0, 0.0)),
        ("finetune.device=0", lambda recipe: recipe.finetune.device == "0"),
        ("finetune.device=0,1", lambda recipe: recipe.finetune.device == "0,1"),
        (" finetune.epochs =7", lambda recipe: recipe.finetune.epochs == 7),
    ],
)
def test_an_assignment_is_read_as_yaml(assignment: str, read: Any) -> None:
    assert read(load_recipe(assignments=(assignment,)))


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("prun.ratio=0.3", "unknown key 'prun' (did you mean 'prune'?)"),
        ("prune.rato=0.3", "unknown key 'prune.rato' (did you mean 'ratio'?)"),
        ("prune.criterion=groupnorm", "did you mean 'group_norm'?"),
        ("quantize.split=trian", "did you mean 'train'?"),
        ("prune.ratio=1", "prune.ratio: Input should be less than 1, not 1"),
        ("prune.ratios={model.4.*: 1.5}", "prune.ratios.model.4.*: Input should be less than or equal to 1"),
        ("prune.ratios={model.4.*: 0.9}", "ratios: 0.9 for 'model.4.*' is above max_ratio 0.75"),
        ("prune.combine=[0, 0]", "combine: one of the two shares has to be above 0"),
        ("prune.images=0", "prune.images: Input should be greater than or equal to 1"),
        ("prune.scope=globl", "did you mean 'global'?"),
        ("prune.ratio=.nan", "prune.ratio: Input should be a finite number"),
        ("finetune.lr0=.inf", "finetune.lr0: Input should be a finite number"),
        ("budget.max_drop=-0.1", "budget.max_drop: Input should be greater than or equal to 0"),
        ("imgsz=big", "imgsz: "),
        ("prune=0.3", "prune: a section of keys and values is expected, not 0.3"),
        ("prune.ratio", "write it as key=value"),
        ("prune.ratio=[", "not valid YAML"),
    ],
)
def test_a_mistake_names_the_option_and_what_was_meant(assignment: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(assignments=(assignment,))
    assert str(caught.value).startswith(f"--set {assignment}: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("goals", [{"ratio": 0.3, "macs": 0.5}, {"speedup": 1.5, "macs": 0.5}])
def test_two_goals_are_refused(goals: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"prune: {' and '.join(goals)} are two goals"):
        load_recipe(**{f"prune__{name}": value for name, value in goals.items()})


def test_a_value_cannot_be_a_section_too() -> None:
    with pytest.raises(ConfigError, match="'prune' holds a value, not a section"):
        load_recipe(assignments=("prune=0.3", "prune.ratio=0.3"))


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("bench: {profile: quik}\n")
    with pytest.raises(ConfigError, match=r"recipe.yaml: bench.profile: 'quik' .*did you mean 'quick'\?"):
        load_recipe(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml: cannot be read: No such file"):
        load_recipe(tmp_path / "none.yaml")


KEYS = [
    *Recipe.model_fields,
    *(
        f"{name}.{key}"
        for name, section in Recipe()
        if hasattr(section, "model_fields_set")
        for key in dict(section)
    ),
]


def test_a_recipe_survives_json() -> None:
    recipe = load_recipe(prune__ratio=0.25, prune__skip=("model.22.*",), imgsz=320)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@given(st.lists(st.tuples(st.sampled_from(KEYS) | st.text(max_size=10), st.text(max_size=12)), max_size=3))
def test_any_assignments_are_a_recipe_or_one_line(pairs: list[tuple[str, str]]) -> None:
    try:
        recipe = load_recipe(assignments=tuple(f"{key}={value}" for key, value in pairs))
    except ConfigError as exc:
        assert str(exc)
    else:
        assert Recipe.model_validate(recipe.model_dump()) == recipe


@given(st.floats(0, 0.99), st.integers(0, 500), st.floats(0, 1))
def test_options_arrive_unchanged(ratio: float, epochs: int, drop: float) -> None:
    recipe = load_recipe(prune__ratio=ratio, finetune__epochs=epochs, budget__max_drop=drop)
    assert (recipe.prune.ratio, recipe.finetune.epochs, recipe.budget.max_drop) == (ratio, epochs, drop)
