"""The search as a whole, on networks whose drops and latencies are known: what it trains, takes and tells."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from torch import nn

from edgeprune.config.recipe import Recipe, load_recipe
from edgeprune.config.targets import DeviceProfile
from edgeprune.core import artifact as storing
from edgeprune.core.artifact import Artifact, Store
from edgeprune.core.errors import BudgetError, ConfigError, InterruptedBuildError
from edgeprune.images.size import ImageSize
from edgeprune.pipeline.context import SELECTION_SPLIT, Build
from edgeprune.pipeline.solve import begin as beginning
from edgeprune.pipeline.solve import clock as timing
from edgeprune.pipeline.solve import judge as judging
from edgeprune.pipeline.solve import rivals as competing
from edgeprune.pipeline.solve import run as solving
from edgeprune.pipeline.solve.judge import Judged
from edgeprune.pipeline.solve.levers import Proposal
from edgeprune.pipeline.solve.plan import Pace, plan_search
from edgeprune.pipeline.solve.rungs import Entry, Gains, Problem, SizedNetwork
from edgeprune.records.pruning import PassReport, Pruning
from edgeprune.records.scores import Accuracy
from edgeprune.records.speedup import Speedup

BUDGET = 0.01
BASELINE = Accuracy(metric="top-1", split="val", images=90, score=0.9)
ORIGINAL = Artifact(Path("original.pt"), "torch", "fp32", "original", None)
SWAPPED = (PassReport(name="activation", applied=("SiLU to relu in 9 layers",)),)
CALM = SimpleNamespace(
    whole_ms=10.0,
    step=8,
    unfit=False,
    caveats=lambda: (),
)
UNFIT = SimpleNamespace(**{**vars(CALM), "unfit": True, "caveats": lambda: ("contended: others were there",)})


def network(share: float, epochs: int) -> Artifact:
    """Return a network that is named by its size and by how long it was trained."""
    name = f"{share:.4f} {epochs}"
    return Artifact(Path(f"{name}.pt"), "torch", "fp32", name, None)


def share_of(model: Artifact) -> float:
    """Return the size of a network."""
    return 1.0 if model == ORIGINAL else float(model.sha256.split()[0])


def epochs_of(model: Artifact) -> int:
    """Return for how many epochs a network was trained."""
    return 0 if model == ORIGINAL else int(model.sha256.split()[1])


class KilledError(BaseException):
    """Stands for a kill."""


@dataclass
class World:
    """What is true of the simulated networks, and what the search did.

    Attributes:
        hard: drop of a network of half the size after many epochs.
        interrupt_at: Ctrl-C comes in the training of that number, from 1.
        killed: whether it is no Ctrl-C, but something that nobody catches.
        pacing: seconds that the pace takes to measure.
        loading: seconds before the plan that no stage takes.
        asked: for what networks a training was asked.
        least: sizes below it cannot be cut.
        slow: sizes that the target does not run faster.
        swap: what another activation costs before any cut.
        noise: of a measurement, to either side.
        slower: how many times as long a training takes as its pace says.
        now: seconds that have passed.
        cutting: seconds that a cut takes.
        sources: epochs of what each size was cut from, in the order of the cuts.
        as_cut, first: score of a network right after the cut; with a smaller input, which is proposed first.
        unsure: how far the interval of a drop reaches to either side.
        shares: share done by the time.
        held_against: sizes that were judged with layers in float, and the larger ones beside them.
        sizes: inputs that may be taken; a smaller one is always better right after the cut.
        scores: after the short recovery, by input.
    """

    hard: float = 0.004
    interrupt_at: int | None = None
    killed: bool = False
    pacing: float = 0.0
    loading: float = 0.0
    asked: list[str] = field(default_factory=list)
    least: float = 0.0
    slow: tuple[float, float] = (0.0, 0.0)
    swap: float = 0.0
    noise: float = 0.0
    slower: float = 1.0
    now: float = 0.0
    cutting: float = 0.0
    sources: list[tuple[float, int]] = field(default_factory=list)
    unsure: float = 0.003
    as_cut: float = 0.5
    first: float = 0.6
    sizes: tuple[ImageSize, ...] = (64,)
    scores: dict[ImageSize, float] = field(default_factory=dict)
    table: Any = field(default_factory=lambda: CALM)
    trained: list[tuple[float, int]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    held_against: list[tuple[float, float]] = field(default_factory=list)
    shares: list[tuple[float, float]] = field(default_factory=list)

    def notify(self, stage: str, share: float, text: str) -> None:
        """Keep what is said, and the share done at what time."""
        self.said.append(text)
        self.shares.append((self.now, share))

    def drop(self, model: Artifact) -> float:
        """Return the drop of a network: it grows with what was cut, and falls with the epochs."""
        swapped = self.swap if share_of(model) >= 1.0 else 0.0
        return swapped + self.hard * (0.5 / share_of(model)) ** 2 * (1 + 6 / max(1, epochs_of(model)))

    def judge(self, model: Artifact) -> Accuracy:
        drop = self.drop(model)
        interval = (drop - self.unsure, drop + self.unsure)
        return Accuracy(metric="top-1", split="val", images=90, score=0.9 - drop, drop=drop).model_copy(
            update={"drop_interval": interval}
        )

    def judge_guarded(self, _: Problem, network: SizedNetwork, above: SizedNetwork) -> Judged:
        self.held_against.append((share_of(network.model), share_of(above.model)))
        return Judged(self.judge(network.model))

    def time(self, _: Problem, network: SizedNetwork, above: SizedNetwork) -> Gains:
        return Gains(original=self.gain(ORIGINAL, network.model), above=self.gain(above.model, network.model))

    def gain(self, before: Artifact, after: Artifact) -> Speedup:
        times = self.ms(before) / self.ms(after)
        return Speedup(times=times, low=times * (1 - self.noise), high=times * (1 + self.noise), turns=96)

    def ms(self, model: Artifact) -> float:
        share = share_of(model)
        return 12.0 if self.slow[0] < share < self.slow[1] else 10 * share

    def propose(
        self, _: Problem, larger: Sequence[Entry], share: float, sizes: Sequence[ImageSize]
    ) -> list[Proposal]:
        self.now += self.cutting
        self.sources.append((share, epochs_of(larger[0].best)))
        if share < self.least:
            raise BudgetError(f"no widths reach {share:.3f}")
        passes = larger[0].passes
        narrow = Proposal(network(share, 0), sizes[0], share, 10 * share, passes, self.as_cut)
        if len(sizes) == 1:
            return [narrow]
        small = Proposal(network(share * 1.0001, 0), sizes[1], 1.0, 10 * share, passes, self.first)
        return [small, narrow]

    def finetune(self, context: Build, student: Artifact, teacher: Artifact, epochs: int) -> Artifact:
        assert teacher == ORIGINAL

        def make(_: Path) -> None:
            if self.interrupt_at == len(self.trained) + 1:
                raise KilledError if self.killed else InterruptedBuildError("interrupted in training")
            self.trained.append((share_of(student), epochs))
            self.now += 60.0 * epochs * self.slower

        tuned = network(share_of(student), epochs_of(student) + epochs)
        self.asked.append(tuned.sha256)  # a size that is cut again is another network of the same name
        parts = {"network": tuned.sha256, "time": self.asked.count(tuned.sha256)}
        return context.stage("tuned", parts, make, lambda _: tuned)

    def latency_table(self, *_: Any) -> Any:
        self.now += self.loading
        return self.table

    def measure_pace(self, context: Build, *_: Any) -> Pace:
        def make(_: Path) -> None:
            self.now += self.pacing

        return context.stage("pace", {}, make, lambda _: Pace(60.0, 0.0))


@pytest.fixture
def solve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that searches in a world, and returns model, report and entries.

    Each search has a build folder of its own, unless one is named.
    """
    folders = itertools.count()

    def run(
        world: World,
        others: Sequence[Entry] = (),
        measured: bool = True,
        folder: str = "",
        uncut: Artifact = ORIGINAL,
        plain: Artifact = ORIGINAL,
        **options: Any,
    ) -> tuple[Artifact | None, Pruning, tuple[Entry, ...]]:
        recipe: Recipe = load_recipe(**({"solve__effort": "standard"} | options))
        root = tmp_path / (folder or str(next(folders)))
        root.mkdir(exist_ok=True)
        store = Store(root)
        context = SimpleNamespace(
            store=store,
            stage=lambda name, parts, make, read: read(store.stage(name, parts, make)),
            at=lambda imgsz: context,
            recipe=recipe,
            info=SimpleNamespace(metric="top-1"),
            notify=world.notify,
            testbed=SimpleNamespace(measures=lambda profile: measured),
            request=SimpleNamespace(out=tmp_path),
            pruning=None,
            adapter=SimpleNamespace(load=lambda path: nn.Identity()),
        )
        fakes = {
            "latency_table": world.latency_table,
            "propose": world.propose,
            "input_sizes": lambda problem: world.sizes,
            "score_of": lambda problem, model, imgsz: world.scores.get(imgsz, 0.9 - world.drop(model)),
            "cost_at": lambda problem, imgsz: 1.0,
            "time_network": world.time if measured else lambda *_: None,
            "judge": lambda problem, network: world.judge(network.model),
            "judge_guarded": world.judge_guarded,
            "finetune": world.finetune,
            "recover": world.finetune,
            "least_work": lambda problem: 0.06,
            "least_latency": lambda context, source, table: 2.5,
            "measure_pace": world.measure_pace,
            "account_for": lambda problem, plan, entries, chosen, ended, notes: SimpleNamespace(
                ended=ended, notes=notes, chosen=chosen, plan=plan
            ),
        }
        clock = SimpleNamespace(monotonic=lambda: world.now)
        for module in (storing, timing):
            monkeypatch.setattr(module, "time", clock)
        for name, fake in fakes.items():
            for module in (beginning, solving, competing, judging):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, fake)
        profile = cast(DeviceProfile, SimpleNamespace(name="simulated"))
        given = cast(Build, context)
        networks = beginning.Networks(ORIGINAL, plain, uncut, SWAPPED if uncut != plain else ())
        until = None if recipe.solve.hours is None else store.now() + 3600 * recipe.solve.hours
        chosen, report, entries = solving.solve(
            given, networks, profile, {SELECTION_SPLIT: BASELINE}, others, until
        )
        return chosen.best if chosen else None, report, entries

    return run


def test_the_smallest_size_that_keeps_to_the_budget_is_taken_after_a_long_recovery(solve: Any) -> None:
    world = World()
    model, report, entries = solve(world)
    assert world.drop(model) <= BUDGET and (share_of(model), 60) in world.trained
    kept = [entry for entry in entries if entry.tried.drop <= BUDGET]
    assert share_of(model) == min(entry.tried.share for entry in kept)
    assert 0.25 < share_of(model) < 0.4  # by the drop of the world, .33 is the least after 66 epochs
    assert (report.ended, report.notes) == ("done", ())
    assert "about" in world.said[0] and "min of training at most" in world.said[0]


def test_every_size_keeps_the_interval_of_its_drops_and_sure_holds_its_upper_end_to_the_budget(
    solve: Any,
) -> None:
    world = World()
    plain, _, entries = solve(world)
    for entry in entries:
        assert entry.short and entry.short.drop_interval == (
            entry.short.drop - 0.003,
            entry.short.drop + 0.003,
        )
        assert entry.tried.short == entry.short.drop and (entry.long is None) == (entry.trained is None)
    assert f"drop {world.judge(plain).drop_words} on val" in world.said[-1]
    sure, _, entries = solve(World(), budget__sure=True)
    assert world.drop(sure) + 0.003 <= BUDGET and share_of(sure) > share_of(plain)
    assert all(entry.tried.short == entry.short.drop_interval[1] for entry in entries)


def test_where_nothing_keeps_to_the_budget_the_nearest_is_returned_and_told(solve: Any) -> None:
    world = World(hard=0.05)
    model, report, _ = solve(world)
    assert report.chosen.tried.drop > BUDGET and share_of(model) > 0.6
    assert "none keeps to the budget" in world.said[-1]


def test_ctrl_c_ends_the_search_with_what_keeps_to_the_budget(solve: Any) -> None:
    world = World(interrupt_at=4)
    model, report, _ = solve(world)
    assert report.ended == "interrupted" and len(world.trained) == 3
    assert world.drop(model) <= BUDGET


def test_ctrl_c_before_anything_keeps_to_the_budget_ends_the_build(solve: Any) -> None:
    with pytest.raises(InterruptedBuildError):
        solve(World(interrupt_at=1))


def test_a_quarter_of_the_hours_gives_a_shorter_search_within_the_budget(solve: Any) -> None:
    long, short = World(), World()
    solve(long)
    epochs = sum(epochs for _, epochs in long.trained)
    model, _, _ = solve(short, solve__hours=epochs / 60 / 4)
    assert sum(epochs for _, epochs in short.trained) <= epochs / 4
    assert short.drop(model) <= BUDGET


def test_hours_too_few_for_any_training_give_the_smallest_cut_that_needs_none(solve: Any) -> None:
    world = World(hard=0.0005)
    model, _, entries = solve(world, solve__hours=0.01)  # 36 s, and an epoch takes a minute
    assert world.trained == [] and "none trained" in world.said[0]
    assert world.drop(model) <= BUDGET
    failed = max(entry.tried.share for entry in entries if entry.tried.drop > BUDGET)
    assert share_of(model) / failed < 1.06  # bisected


@pytest.mark.parametrize("hours", [None, 0.3, 3.0])
def test_the_time_that_is_left_is_no_more_than_the_plan_and_the_hours(
    solve: Any, monkeypatch: pytest.MonkeyPatch, hours: float | None
) -> None:
    world = World()
    quick = world.propose

    def propose(*given: Any) -> list[Proposal]:
        world.now += 100.0
        return quick(*given)

    monkeypatch.setattr(world, "propose", propose)
    solve(world, solve__hours=hours)
    shares = [share for _, share in world.shares]
    assert shares == sorted(shares) and shares[-1] == 1.0
    plan = plan_search(load_recipe(), 0.255)
    between = 3 * (100 + 60 * plan.short)  # sizes between two rungs are on top of the plan
    limit = 3600 * hours if hours else 60 * plan.epochs + 100 * (len(plan.shares) + plan.trainings) + between
    left = [(now, now * (1 - share) / share) for now, share in world.shares if 0 < share < 0.99]
    assert left and all(now + seconds <= limit * 1.01 for now, seconds in left)


def test_no_training_is_begun_that_would_end_too_late(solve: Any) -> None:
    world = World(slower=8.0)
    _, report, entries = solve(world, solve__hours=1.0)
    assert report.ended == "time" and entries
    assert 0 < world.now < 3600 + 8 * 60 * max(epochs for _, epochs in world.trained)


def test_a_size_that_is_not_faster_is_not_trained(solve: Any) -> None:
    world = World(slow=(0.45, 0.55))
    _, _, entries = solve(world)
    (slow,) = (entry for entry in entries if entry.tried.slow)
    assert 0.45 < slow.tried.share < 0.55
    assert slow.tried.share not in {share for share, _ in world.trained}


def test_a_noisy_measurement_refuses_nothing_that_may_be_faster(solve: Any) -> None:
    _, _, entries = solve(World(noise=0.5))
    assert not any(entry.tried.slow for entry in entries)


def test_of_two_ways_to_a_size_the_one_that_recovers_better_is_taken(solve: Any) -> None:
    world = World(sizes=(64, 32), scores={64: 0.8, 32: 0.7})
    _, report, entries = solve(world)
    assert report.plan.rivals == 2 and "each of up to 2 ways to it" in world.said[0]
    for entry in entries:
        assert entry.imgsz == 64
        told = [(lever.imgsz, lever.score, lever.recovered, lever.taken) for lever in entry.levers]
        assert told == [(32, 0.6, 0.7, False), (64, 0.5, 0.8, True)]
    shorts = [share for share, epochs in world.trained if epochs == report.plan.short]
    assert len(shorts) == 2 * len(entries)


def test_a_size_is_left_as_it_was_cut_where_that_keeps_to_the_budget_or_a_recovery_harms(solve: Any) -> None:
    easy = World(as_cut=0.895)
    _, report, entries = solve(easy)
    assert all(entry.as_cut for entry in entries)
    assert all(epochs == report.plan.long for _, epochs in easy.trained)
    two = World(as_cut=0.3, sizes=(64, 32), first=0.895)
    _, report, entries = solve(two)
    assert all(entry.as_cut and entry.imgsz == 32 for entry in entries)  # the other way is not trained either
    assert all(epochs == report.plan.long for _, epochs in two.trained)
    harmed = World(as_cut=0.85, hard=0.2)
    _, report, entries = solve(harmed)
    shorts = [share for share, epochs in harmed.trained if epochs == report.plan.short]
    assert shorts and entries[0].as_cut and entries[0].network == network(entries[0].tried.share, 0)
    assert any("trained: left as cut" in text for text in harmed.said)


def test_what_cannot_be_cut_ends_the_ladder_and_is_noted(solve: Any) -> None:
    world = World(hard=1e-5, least=0.4)
    model, report, _ = solve(world)
    assert 0.4 <= share_of(model) < 0.5
    assert report.notes == ("no smaller size was cut: no widths reach 0.380",)


def test_where_no_size_can_be_cut_there_is_no_pruned_network_and_the_build_goes_on(solve: Any) -> None:
    world = World(least=0.9)
    model, report, entries = solve(world)
    assert (model, report.chosen, entries) == (None, None, ())
    assert report.notes == ("no smaller size was cut: no widths reach 0.776",)
    assert world.said[-1] == "no size can be cut"


def test_sizes_are_shares_of_the_work_where_the_table_is_not_to_be_trusted(solve: Any) -> None:
    _, report, _ = solve(World(table=UNFIT))
    assert report.notes == (
        "sizes are shares of multiply-accumulates, since the latency table is unfit: "
        "contended: others were there",
    )
    _, report, _ = solve(World(), measured=False)
    assert "not measured here" in report.notes[0]


def test_a_size_is_cut_again_from_a_larger_one_that_was_recovered_since(solve: Any) -> None:
    world = World()
    _, report, entries = solve(world)
    shares = [entry.tried.share for entry in entries]
    twice = {share for share in shares if shares.count(share) > 1}
    assert twice
    for share in twice:
        before, *_, after = (epochs for size, epochs in world.sources if size == share)
        assert before < report.plan.long <= after
    trained = [entry for entry in entries if entry.long is not None]
    assert len(trained) <= report.plan.trainings


def test_a_second_target_trains_nothing_where_the_first_ones_sizes_serve(solve: Any) -> None:
    first, second = World(), World()
    model, _, entries = solve(first)
    again, report, judged = solve(second, entries)
    assert second.trained == [] and again == model
    assert len(judged) == 1 < len(entries)  # the size that served there is enough
    assert "were judged on this one" in report.notes[0]


def test_a_second_target_that_needs_more_goes_on_from_the_first_ones_sizes(solve: Any) -> None:
    _, _, entries = solve(World())
    harder = World(hard=0.012)
    model, _, _ = solve(harder, entries)
    assert harder.drop(model) <= BUDGET
    assert sum(epochs == 60 for _, epochs in harder.trained) <= 2


def test_what_passes_changed_is_trained_before_any_cut_and_may_itself_be_taken(solve: Any) -> None:
    world = World(hard=0.03)
    model, _, entries = solve(world, uncut=network(1.0, 0))
    assert world.trained[0] == (1.0, 60) and entries[0].tried.share == 1.0
    assert share_of(model) > 0.7 and world.drop(model) <= BUDGET
    assert world.said[0].startswith("60 epochs before any cut, then up to")


def test_an_activation_that_costs_too_much_is_left_as_it_was(solve: Any) -> None:
    world = World(swap=0.2)
    model, report, entries = solve(world, uncut=network(1.0, 0))
    assert "the activation was left as it was: another one lost 0.2" in report.notes[0]
    assert world.drop(model) <= BUDGET and all(entry.tried.share < 1.0 for entry in entries)
    (told,) = report.chosen.passes
    assert told.applied == () and told.refused[0].startswith(
        "SiLU to relu in 9 layers: before any cut the network with it lost 0.2"
    )
    named = World(swap=0.2)
    _, report, _ = solve(named, uncut=network(1.0, 0), prune__activation="relu")
    assert report.notes == ()  # who names one has it
    assert report.chosen.passes == SWAPPED


def test_a_second_target_tells_the_passes_of_the_network_that_it_takes(solve: Any) -> None:
    """The first one's sizes have ReLU, and this target's own uncut network has not."""
    _, first, entries = solve(World(), uncut=network(1.0, 0))
    assert first.chosen.passes == SWAPPED
    _, taken, _ = solve(World(), entries)
    assert taken.chosen.passes == SWAPPED
    _, further, _ = solve(World(hard=0.012), entries)
    assert further.chosen.passes == SWAPPED


def test_sparse_training_stays_where_passes_are_put_back(solve: Any) -> None:
    sparse = network(1.0, 7)
    world = World(swap=0.2)
    _, report, entries = solve(world, plain=sparse, uncut=network(1.0, 0), prune__criterion="slim")
    assert "activation was left as it was" in report.notes[0]
    assert entries[0].network.sha256.split()[1] == "67"  # 60 epochs more of what sparse training left


def test_without_epochs_nothing_is_trained_and_the_sizes_are_judged_as_they_are(solve: Any) -> None:
    world = World(hard=0.0005)
    model, _, _ = solve(world, finetune__epochs=0)
    assert world.trained == [] and world.drop(model) <= BUDGET
    assert "none trained" in world.said[0]


def test_a_bad_goal_of_one_size_is_no_reason_to_end(solve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(hard=1e-5)
    real = world.propose

    def propose(problem: Problem, above: Entry, share: float, sizes: Sequence[ImageSize]) -> Any:
        if share < 0.3:
            raise ConfigError("macs: no pruning reaches it")
        return real(problem, above, share, sizes)

    monkeypatch.setattr(world, "propose", propose)
    model, report, _ = solve(world)
    assert share_of(model) < 0.36 and report.ended == "done"


def test_layers_in_float_have_to_beat_the_next_larger_size(solve: Any) -> None:
    world = World(hard=0.006)
    _, _, entries = solve(world)
    shares = [share_of(network(entry.tried.share, 0)) for entry in entries]
    assert len(world.held_against) > 1
    for share, above in world.held_against:
        assert above in [*shares, 1.0] and above > share


def test_without_training_the_first_size_is_held_against_the_users_own_network(solve: Any) -> None:
    world = World(hard=0.001)
    solve(world, finetune__epochs=0)
    assert world.held_against[0][1] == 1.0
    assert all(above > share for share, above in world.held_against)


def test_what_is_left_of_the_time_goes_to_sizes_that_need_no_training(solve: Any) -> None:
    """The plan has one long recovery of ten minutes; after the first size there is no time for it."""
    world = World(hard=0.004, cutting=150.0)
    chosen, report, entries = solve(world, solve__hours=0.2)
    assert "the time was too short for a long recovery" in report.notes
    assert not world.trained and world.now <= 720
    assert len(entries) > 1 and not entries[0].tried.keeps(BUDGET)
    assert chosen is not None and world.drop(chosen) <= BUDGET


@pytest.mark.parametrize("at", [1, 2, 4])
def test_within_hours_a_kill_loses_one_training_and_the_build_that_goes_on_takes_the_same_network(
    solve: Any, at: int
) -> None:
    """What was spent before counts, so the plan and the end of the search are those of one build."""
    world, options = World(slower=2.0, pacing=300.0), {"solve__hours": 1.5}
    model, whole, _ = solve(world, **options)
    assert whole.ended == "time" and len(world.trained) >= at
    killed = World(slower=2.0, pacing=300.0, interrupt_at=at, killed=True)
    with pytest.raises(KilledError):
        solve(killed, folder="killed", **options)
    later = World(slower=2.0, pacing=300.0)
    again, resumed, _ = solve(later, folder="killed", **options)
    assert killed.trained + later.trained == world.trained
    assert again == model and (resumed.ended, asdict(resumed.plan)) == ("time", asdict(whole.plan))


def test_a_build_that_goes_on_keeps_its_plan_though_it_has_more_time(solve: Any) -> None:
    _, first, _ = solve(World(loading=900.0), folder="same", solve__hours=1.5)
    again = World()
    _, second, _ = solve(again, folder="same", solve__hours=1.5)
    _, other, _ = solve(World(), solve__hours=1.5)
    assert asdict(second.plan) == asdict(first.plan) != asdict(other.plan)


def test_a_finished_build_with_hours_trains_nothing_when_it_is_asked_for_again(solve: Any) -> None:
    model, _, _ = solve(World(), folder="same", solve__hours=1.5)
    again = World()
    assert solve(again, folder="same", solve__hours=1.5)[0] == model and again.trained == []
