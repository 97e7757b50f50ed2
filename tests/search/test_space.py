"""What a search varies: parameters and choices, seeds within their budget, the networks they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.config.recipe import PruneRecipe, Recipe
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.prune.stages import PruneContext
from edgeprune.records.latency_table import LatencyTable
from edgeprune.search import space as search
from edgeprune.search.space import (
    Choice,
    Scored,
    Space,
    decode,
    encode,
    predicted_ms,
    realize,
    score_network,
    seeds,
    space_of,
)
from edgeprune.search.trial import FinishedTrial, hopeless
from made_tables import made_table

WIDTHS = st.lists(st.integers(1, 64), min_size=1, max_size=6, unique=True).map(sorted)
SPACES = st.builds(
    Space,
    st.dictionaries(st.sampled_from("abcdef"), WIDTHS, min_size=1),
    st.lists(st.sampled_from(["m.0", "m.1", "m.2"]), unique=True).map(tuple),
    st.just(("keep", "relu")),
    st.just((64, 96, (64, 96))),
    st.booleans(),
)


@given(SPACES, st.data())
def test_parameters_and_choices_go_back_and_forth(space: Space, data: st.DataObject) -> None:
    params = {name: data.draw(st.sampled_from(values)) for name, values in space.parameters().items()}
    choice = decode(space, params)
    assert encode(space, choice) == params
    assert decode(space, encode(space, choice)) == choice
    assert all(choice.keep[name] in options for name, options in space.widths.items())


@pytest.fixture(scope="module")
def network(checkpoints: dict[str, Path], tiny: Dataset) -> Scored:
    context = PruneContext(adapter, tiny, Preprocess(64), Recipe())
    return score_network(context, checkpoints["yolov8n"])


@pytest.fixture(scope="module")
def table(network: Scored) -> LatencyTable:
    return made_table(adapter, network.model, 64)


@pytest.fixture(scope="module")
def space(network: Scored, table: LatencyTable) -> Space:
    return space_of(network, table, PruneRecipe(), ("keep", "relu"), (64, 96))


@pytest.mark.parametrize("share_allowed", [None, 0.8])
def test_seeds_begin_at_the_limit_and_keep_to_their_budgets(
    space: Space,
    network: Scored,
    table: LatencyTable,
    share_allowed: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "SEEDED", (1.0, 0.6))
    limit = share_allowed and share_allowed * table.whole_ms
    found = seeds(space, network, table, limit)
    plain = [choice for choice in found if (choice.activation, choice.imgsz) == ("keep", 64)]
    assert len(found) == 4 * len(plain) and len(plain) > 1
    times = [predicted_ms(choice, table) for choice in plain]
    assert times == sorted(times, reverse=True)  # type: ignore[type-var]
    for ms, share in zip(times, (1.0, 0.6), strict=False):
        assert ms is not None and ms <= share * (limit or table.whole_ms) + 1e-9
    assert all(encode(space, choice) for choice in found)  # every width is one of the options


def test_what_cannot_be_reached_begins_with_the_narrowest(
    space: Space, network: Scored, table: LatencyTable
) -> None:
    found = seeds(space, network, table, 1e-6)
    assert {tuple(choice.keep.values()) for choice in found} == {
        tuple(options[0] for options in space.widths.values())
    }


def test_a_choice_is_predicted_only_where_the_table_is_true_of_it(space: Space, table: LatencyTable) -> None:
    whole = dict(table.original)
    assert predicted_ms(Choice(whole, (), "keep", 64), table) == pytest.approx(table.whole_ms)
    shallow = predicted_ms(Choice(whole, (space.blocks[0],), "keep", 64), table)
    assert shallow is not None and shallow < table.whole_ms
    assert predicted_ms(Choice(whole, (), "relu", 64), table) is None
    assert predicted_ms(Choice(whole, (), "keep", 96), table) is None


def test_a_choice_becomes_the_network_it_names(
    space: Space, network: Scored, table: LatencyTable, tiny: Dataset
) -> None:
    keep = {name: options[len(options) // 2] for name, options in space.widths.items()}
    recipe = Recipe(prune=PruneRecipe(rewrite=("spatial",)))
    choice = Choice(keep, tuple(space.blocks[:2]), "relu", 96, rewrite=True)
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    model = realize(adapter, network, choice, table, tiny, recipe)
    modules = list(model.modules())
    assert not any(isinstance(module, torch.nn.SiLU) for module in modules)
    assert any(isinstance(module, torch.nn.ReLU) for module in modules)
    assert len(space_of_blocks(model)) == len(space.blocks) - 2
    sizes = [sum(value.numel() for value in net.parameters()) for net in (model, network.model)]
    assert sizes[0] < sizes[1]
    with torch.no_grad():
        assert all(torch.isfinite(out).all() for out in adapter.exportable(model)(torch.rand(1, 3, 96, 96)))
    assert all(torch.equal(before[name], value) for name, value in network.model.state_dict().items())


def space_of_blocks(model: torch.nn.Module) -> list[str]:
    from edgeprune.prune.depth import removable_blocks

    return removable_blocks(model)


def test_hopeless_is_slower_and_worse_than_its_like() -> None:
    choice = Choice({}, (), "relu", 64)
    rival = FinishedTrial(7, 9.0, 0.3, "relu", False)
    assert hopeless(10.0, 0.27, choice, [rival]) == rival
    assert hopeless(9.9, 0.27, choice, [rival]) is None  # hardly slower
    assert hopeless(10.0, 0.29, choice, [rival]) is None  # hardly worse
    assert hopeless(10.0, 0.0, choice, [rival._replace(activation="keep")]) is None
    assert hopeless(10.0, 0.0, choice, [rival._replace(rewrite=True)]) is None
