"""The search for the fastest network whose shipped artifact keeps to the accuracy budget."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import BudgetError, ConfigError, InterruptedBuildError
from edgeprune.pipeline.context import Build
from edgeprune.pipeline.prune_to_latency import latency_table
from edgeprune.pipeline.solve.account import account_for, plan_words
from edgeprune.pipeline.solve.moves import Cut, Plan, Train, Tried, best_of, is_hopeless, next_move
from edgeprune.pipeline.solve.plan import GAPS, Pace, plan_search
from edgeprune.pipeline.solve.rungs import (
    Entry,
    Problem,
    cut_to_share,
    judge,
    least_work,
    measure_pace,
    time_network,
)
from edgeprune.pipeline.train import finetune
from edgeprune.prune.allocation import on_step
from edgeprune.records.latency_table import LatencyTable
from edgeprune.records.pruning import Pruning, SearchEnd
from edgeprune.records.scores import Accuracy
from edgeprune.records.speedup import Speedup

FASTER = 1.02
"""A size that is not this much faster than the one before it is not worth a training."""
MARGIN = 1.02
"""The smallest size that is asked for, over the smallest that there is."""
WORTH_PACING = 20
"""Searches of fewer epochs are over before their pace is measured."""


def solve(
    context: Build,
    networks: tuple[Artifact, Artifact],
    profile: DeviceProfile,
    baseline: Mapping[str, Accuracy],
    others: Sequence[Entry] = (),
) -> tuple[Artifact | None, Pruning, tuple[Entry, ...]]:
    """Search the fastest network of a target that keeps to `budget.max_drop`; return it, recovered.

    Args:
        networks: the user's own, and what passes before the cut made of it.
        baseline: accuracy of the user's own network by split.
        others: what the search for another target of this build has tried: judged here first, and where one
            keeps to the budget nothing more is trained.

    Returns:
        The network, None where no size can be cut; the account of what was removed; and what was tried.

    Raises:
        InterruptedBuildError: Ctrl-C before a first size kept to the budget.
    """
    original, uncut = networks
    hours = context.recipe.solve.hours
    until = time.monotonic() + 3600 * hours if hours is not None else None
    run = _begin(context, networks, profile, baseline)
    run.take_over(others)
    notes: tuple[str, ...] = ()
    if not others and uncut != original and not run.warm_up() and context.recipe.prune.activation == "auto":
        lost = run.entries[0].tried.short
        notes = (f"the activation was left as it was: another one lost {lost:.4f} on val before any cut",)
        run = _begin(context, (original, original), profile, baseline)
    run.search(until)
    chosen = run.chosen()
    notes = (*notes, *run.notes)
    report = account_for(run.problem, run.plan, tuple(run.entries), chosen, run.ended, notes)
    context.notify("solve", 1.0, run.verdict(chosen))
    return chosen.best if chosen else None, report, tuple(run.entries)


def _begin(
    context: Build,
    networks: tuple[Artifact, Artifact],
    profile: DeviceProfile,
    baseline: Mapping[str, Accuracy],
) -> _Run:
    """Return a search that has its latency table and its plan, which is said."""
    original, uncut = networks
    table, notes = _table(context, uncut, profile)
    problem = Problem(context, profile, original, uncut, table, baseline)
    least, gap = least_share(problem), GAPS["latency" if table else "macs"]
    recipe, changed = context.recipe, uncut != original
    plan, pace = plan_search(recipe, least, None, gap, changed), None
    if plan.long and plan.shares and (plan.epochs >= WORTH_PACING or recipe.solve.hours is not None):
        pace = measure_pace(problem)
        plan = plan_search(recipe, least, pace, gap, changed)
    context.notify("solve", 0.0, plan_words(plan, pace))
    return _Run(problem, plan, pace, notes)


def _table(
    context: Build, uncut: Artifact, profile: DeviceProfile
) -> tuple[LatencyTable | None, tuple[str, ...]]:
    """Return the target's latency table, if it is measured and can be trusted, and notes."""
    if not context.testbed.measures(profile):
        return None, ("the target is not measured here, so sizes are shares of multiply-accumulates",)
    table = latency_table(context, uncut, profile)
    if not table.unfit:
        return table, ()
    why = "; ".join(table.caveats())
    return None, (f"sizes are shares of multiply-accumulates, since the latency table is unfit: {why}",)


def least_share(problem: Problem) -> float:
    """Return the smallest share of the uncut network's cost that `prune.max_ratio` and the step allow."""
    if (table := problem.table) is None:
        return min(least_work(problem) * MARGIN, 1.0)
    most = problem.context.recipe.prune.max_ratio
    keep = {name: on_step(width * (1 - most), table.step, width) for name, width in table.original.items()}
    return min(table.predictor()(keep) / table.whole_ms * MARGIN, 1.0)


class _Run:
    """One search: what was tried, and why it ended."""

    def __init__(self, problem: Problem, plan: Plan, pace: Pace | None, notes: tuple[str, ...]) -> None:
        self.problem, self.plan, self.pace, self.notes = problem, plan, pace, notes
        self.entries: list[Entry] = []
        self.ended: SearchEnd = "done"
        self._done = 0

    @property
    def tried(self) -> list[Tried]:
        return [entry.tried for entry in self.entries]

    def take_over(self, others: Sequence[Entry]) -> None:
        """Judge on this target what was tried for another one."""
        for entry in others:
            if entry.tried.slow:
                continue
            gains = time_network(self.problem, entry.network, self.problem.original)
            long = judge(self.problem, entry.trained, guarded=True) if entry.trained else None
            short = judge(self.problem, entry.network, guarded=False)
            counts = self.problem.counts
            tried = Tried(entry.tried.share, counts(short), counts(long) if long else None)
            gain = gains.original if gains else None
            again = replace(entry, tried=tried, predicted_ms=None, gain=gain, short=short, long=long)
            self.entries.append(again)
        if self.entries:
            enough = any(one.keeps(self.problem.budget) for one in self.tried)
            trainings = sum(one.long is not None for one in self.tried) + (0 if enough else 1)
            self.plan = replace(self.plan, shares=() if enough else self.plan.shares, trainings=trainings)
            self.notes = (*self.notes, "the sizes that were found for another target were judged on this one")

    def warm_up(self) -> bool:
        """Train what passes changed, before any cut; tell whether it may still come to the budget."""
        problem, plan = self.problem, self.plan
        if not plan.first:
            return True
        self._say(f"{plan.first} epochs before any cut")
        network = finetune(problem.context, problem.uncut, problem.original, plan.first)
        self._done += plan.first
        short = judge(problem, network, guarded=False)
        tried = Tried(1.0, problem.counts(short))
        whole_ms = problem.table.whole_ms if problem.table else None
        gains = time_network(problem, network, problem.original)
        gain = gains.original if gains else None
        self.entries.append(Entry(tried, network, None, whole_ms, gain, short))
        self._say(f"uncut: drop {short.drop_words} on val after {plan.first} epochs")
        return not is_hopeless(tried, self.tried, plan, problem.budget)

    def search(self, until: float | None) -> None:
        """Make moves until there is none, the time is up, or Ctrl-C ends it with something in hand.

        Args:
            until: when the time is up, by `time.monotonic`; None where it is not bounded.
        """
        budget = self.problem.budget
        try:
            while (move := next_move(self.tried, self.plan, budget)) is not None:
                if until is not None and self._ends_at(move) > until and self.entries:
                    self.ended = "time"
                    return
                if isinstance(move, Train):
                    self._train(move.share)
                else:
                    self._cut(move.share)
        except (KeyboardInterrupt, InterruptedBuildError):
            if not any(one.keeps(budget) for one in self.tried):
                raise
            (self.problem.context.request.out / "interrupted.pt").unlink(missing_ok=True)
            self.ended = "interrupted"

    def chosen(self) -> Entry | None:
        """Return the fastest that keeps to the budget, or the nearest to it; None where nothing was cut."""
        best = best_of(self.tried, self.problem.budget)
        return next((entry for entry in self.entries if entry.tried == best), None)

    def verdict(self, chosen: Entry | None) -> str:
        """Say in a few words what the search ended with."""
        if chosen is None:
            return "no size can be cut"
        share = f"{chosen.tried.share:.0%} of the work"
        speed = f"{chosen.gain.times:.2f}x as fast" if chosen.gain else share
        how = {"done": "", "time": "the time is up: ", "interrupted": "interrupted: "}[self.ended]
        none = "none keeps to the budget; the nearest is "
        kept = "" if chosen.tried.keeps(self.problem.budget) else none
        lost = f", drop {chosen.told.drop_words} on val" if chosen.told else ""
        return f"{how}{kept}{speed}{lost}"

    def _ends_at(self, move: Cut | Train) -> float:
        """Return when a move would end, by `time.monotonic`."""
        epochs = self.plan.short if isinstance(move, Cut) else self.plan.long
        return time.monotonic() + (self.pace.seconds(epochs) if self.pace else 0.0)

    def _say(self, text: str) -> None:
        share = min(0.99, self._done / max(1, self.plan.epochs))
        self.problem.context.notify("solve", share, text)

    def _cut(self, share: float) -> None:
        """Cut to a share and give it the short recovery."""
        problem, plan = self.problem, self.plan
        self._say(f"cut to {share:.0%} of the {'latency' if problem.table else 'work'}")
        above = self._above(share)
        start = above.best if above else problem.uncut
        try:
            network, predicted = cut_to_share(problem, start, share)
        except (BudgetError, ConfigError) as exc:
            self._give_up_below(share, str(exc))
            return
        gains = time_network(problem, network, above.network if above else problem.original)
        gain = gains.original if gains else None
        if network.sha256 == start.sha256 or (gains and _is_no_faster(gains.above)):
            tried = Tried(share, above.tried.short if above else 0.0, slow=True)
            self.entries.append(Entry(tried, network, None, predicted, gain))
            return
        if plan.short:
            network = finetune(problem.context, network, problem.original, plan.short)
            self._done += plan.short
        short = judge(problem, network, guarded=plan.long == 0)
        tried = Tried(share, problem.counts(short))
        self.entries.append(Entry(tried, network, None, predicted, gain, short))
        self._say(f"{share:.0%}: drop {short.drop_words} on val after {plan.short} epochs")

    def _above(self, share: float) -> Entry | None:
        """Return the next larger size that was trained: what smaller ones are cut from."""
        larger = [entry for entry in self.entries if entry.tried.share > share and not entry.tried.slow]
        return min(larger, key=lambda entry: entry.tried.share, default=None)

    def _give_up_below(self, share: float, why: str) -> None:
        """Leave what cannot be cut out of the plan."""
        rest = tuple(one for one in self.plan.shares if one > share)
        done = sum(one.long is not None for one in self.tried)
        trainings = self.plan.trainings if share in self.plan.shares else done
        self.plan = replace(self.plan, shares=rest, trainings=trainings)
        self.notes = (*self.notes, f"no smaller size was cut: {why}")

    def _train(self, share: float) -> None:
        """Give the size of a share its long recovery."""
        problem, plan = self.problem, self.plan
        index = next(i for i, entry in enumerate(self.entries) if entry.tried.share == share)
        entry = self.entries[index]
        self._say(f"{plan.long} epochs for the size of {share:.0%}")
        trained = finetune(problem.context, entry.network, problem.original, plan.long)
        self._done += plan.long
        long = judge(problem, trained, guarded=True)
        tried = replace(entry.tried, long=problem.counts(long))
        self.entries[index] = replace(entry, tried=tried, trained=trained, long=long)
        self._say(f"{share:.0%}: drop {long.drop_words} on val after {plan.long} epochs more")


def _is_no_faster(gain: Speedup) -> bool:
    """Whether it was shown that a size is not `FASTER` than the larger one; what is open is tried."""
    return (gain.times if gain.high is None else gain.high) < FASTER
