"""One table of bounds: options, recipes and budgets refuse the same numbers, at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.cli.numbers import number
from edgeprune.config.limits import LIMITS, Limit
from edgeprune.config.recipe import Recipe, load_recipe
from edgeprune.core.errors import ConfigError
from edgeprune.gate.budgets import SENSES, parse_budget

BY_KEY = {
    "imgsz": "imgsz",
    "seed": "seed",
    "prune.ratio": "ratio",
    "prune.latency_ms": "latency_ms",
    "prune.speedup": "speedup",
    "finetune.epochs": "epochs",
    "finetune.lr0": "lr0",
    "export.opset": "opset",
    "bench.threads": "threads",
    "budget.max_drop": "max_drop",
    "budget.min_fps": "fps",
    "budget.max_memory_mb": "memory_mb",
}


def _just_outside(limit: Limit) -> list[float]:
    below = limit.low if limit.above else limit.low - 1
    above = limit.high if limit.below else limit.high * 2 + 1
    return [below, above, -1e308, 1e308]


@pytest.mark.parametrize("name", LIMITS)
def test_an_option_takes_its_bounds_and_nothing_beyond(name: str) -> None:
    limit, kind = LIMITS[name], number(name)
    inside = (limit.low + limit.high) / 2
    inside = math.floor(inside) if limit.whole else inside
    assert kind.convert(str(inside), None, None) == inside
    beyond = [f"{value:.0f}" if limit.whole else repr(value) for value in _just_outside(limit)]
    for text in (*beyond, "nan", "inf", "-inf", "1e400", "", "abc", "1" * 5000):
        with pytest.raises(click.BadParameter) as caught:
            kind.convert(text, None, None)
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize(("key", "name"), BY_KEY.items())
def test_a_recipe_has_the_bounds_of_the_option(key: str, name: str) -> None:
    for value in _just_outside(LIMITS[name]):
        text = f"{value:.0f}" if LIMITS[name].whole else f"{value:.6f}"
        with pytest.raises(ConfigError, match=key):
            load_recipe(None, (f"{key}={text}",))
    for text in (".nan", ".inf", "-.inf"):
        with pytest.raises(ConfigError, match=key):
            load_recipe(None, (f"{key}={text}",))


def test_every_number_of_a_recipe_has_bounds_on_both_sides() -> None:
    schema = Recipe.model_json_schema()
    sections = {"": schema, **schema["$defs"]}
    for section, found in sections.items():
        for key, field in found.get("properties", {}).items():
            kinds = field.get("anyOf", [field])
            for kind in kinds:
                if kind.get("type") in ("integer", "number"):
                    assert kind.keys() & {"minimum", "exclusiveMinimum"}, f"{section}.{key}"
                    assert kind.keys() & {"maximum", "exclusiveMaximum"}, f"{section}.{key}"


def test_all_faults_of_a_recipe_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(None, ("imgsz=100000", "seed=-1", "prune.ration=1", "finetune.device=none"))
    for part in ("imgsz: ", "seed: ", "unknown key 'prune.ration'", "finetune.device: "):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["", "cpu", 0, "0,1", "cuda:0", "mps"])
def test_a_device_of_training_is_one_that_torch_names(device: str | int) -> None:
    assert load_recipe(None, (f"finetune.device={device}",) if device != "" else ()).finetune.device == str(
        device
    )


@pytest.mark.parametrize("metric", SENSES)
@pytest.mark.parametrize("limit", ["1e308", "1e-300", "0", "-1", "nan", "inf", "9" * 400])
def test_a_budget_has_bounds(metric: str, limit: str) -> None:
    with pytest.raises(ConfigError, match=rf"a limit of {metric} is a number (from|above) "):
        parse_budget(f"{metric}{SENSES[metric][0]}{limit}")


@given(st.floats(), st.sampled_from(sorted(LIMITS)))
def test_a_limit_says_what_pydantic_and_click_say(value: float, name: str) -> None:
    limit = LIMITS[name]
    try:
        number(name).convert(repr(int(value)) if limit.whole else repr(value), None, None)
        taken = True
    except (click.BadParameter, ValueError, OverflowError):
        taken = False
    assert taken == limit.holds(int(value) if limit.whole and math.isfinite(value) else value)


def _numbers(kind: dict[str, Any], schema: dict[str, Any], key: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield where a document of a JSON schema has numbers; of a list, how many there are is the last part."""
    if "$ref" in kind:
        kind = schema["$defs"][kind["$ref"].rpartition("/")[2]]
    for one in kind.get("anyOf", ()):
        yield from _numbers(one, schema, key)
    for name, inner in kind.get("properties", {}).items():
        yield from _numbers(inner, schema, (*key, name))
    if kind.get("type") in ("integer", "number"):
        yield key
    elif kind.get("type") == "array":
        for inner in (places := kind.get("prefixItems", []))[:1]:
            yield from _numbers(inner, schema, (*key, str(len(places))))
    elif isinstance(inner := kind.get("additionalProperties"), dict):
        yield from _numbers(inner, schema, (*key, "any"))


NUMBERS = sorted(set(_numbers(Recipe.model_json_schema(), Recipe.model_json_schema(), ())))


@pytest.mark.parametrize("key", NUMBERS, ids=".".join)
@pytest.mark.parametrize("word", ["true", "no"])
def test_true_is_no_number(key: tuple[str, ...], word: str) -> None:
    """Python takes it for 1."""
    value, last = word, key[-1]
    if last.isdecimal():
        value, key = f"[{', '.join([word] * int(last))}]", key[:-1]
    elif last == "any":
        value, key = f"{{any: {word}}}", key[:-1]
    name = ".".join(key)
    with pytest.raises(ConfigError, match=rf"{name}\b.*: .*expected"):
        load_recipe(None, (f"{name}={value}",))


def test_numbers_as_yaml_reads_them_are_taken() -> None:
    assert load_recipe(None, ("finetune.lr0=1e-3", "finetune.epochs=3.0")).finetune.lr0 == 0.001  # a text
    assert (
        len(NUMBERS) > 40 and ("prune", "combine", "2") in NUMBERS and ("prune", "ratios", "any") in NUMBERS
    )
