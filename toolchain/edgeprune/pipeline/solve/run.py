"""The search for the fastest network whose shipped artifact keeps to the accuracy budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import BudgetError, ConfigError, InterruptedBuildError
from edgeprune.pipeline.context import Build
from edgeprune.pipeline.solve.account import account_for, put_back
from edgeprune.pipeline.solve.begin import Begun, Networks, begin, pace_within
from edgeprune.pipeline.solve.clock import Clock
from edgeprune.pipeline.solve.judge import Judged, judge, judge_again, judge_guarded, with_long
from edgeprune.pipeline.solve.levers import RIVALS, Proposal, levers_of, propose
from edgeprune.pipeline.solve.moves import (
    Cut,
    Train,
    Tried,
    best_of,
    is_hopeless,
    is_outdated,
    long_recoveries,
    next_move,
)
from edgeprune.pipeline.solve.rivals import Recovery, recover_rivals
from edgeprune.pipeline.solve.rungs import Entry, Gains, SizedNetwork, time_network
from edgeprune.pipeline.train import finetune, recover
from edgeprune.records.pruning import Pruning, SearchEnd
from edgeprune.records.scores import Accuracy


def solve(
    context: Build,
    networks: Networks,
    profile: DeviceProfile,
    baseline: Mapping[str, Accuracy],
    others: Sequence[Entry] = (),
    until: float | None = None,
) -> tuple[Entry | None, Pruning, tuple[Entry, ...]]:
    """Search the fastest network of a target that keeps to `budget.max_drop`; return it, recovered.

    Args:
        baseline: accuracy of the user's own network by split.
        others: what the search for another target of this build has tried: judged here first, and where one
            keeps to the budget nothing more is trained.
        until: when the time is up, by `Store.now`; None where it is not bounded.

    Returns:
        What was chosen, None where no size can be cut; the account of what was removed, with the passes that
        it has been through; what was tried.

    Raises:
        InterruptedBuildError: Ctrl-C before a first size kept to the budget.
    """
    pace = pace_within(context, networks.plain, networks.original)
    notes: tuple[str, ...] = ()
    run = _Run(begin(context, networks, profile, baseline, until, pace), until)
    run.take_over(others)
    if not others and not run.warm_up() and networks.uncut != networks.plain and run.may_put_back:
        lost = run.entries[0].short
        assert lost is not None
        passes, note = put_back(networks.passes, lost)
        notes = (note,)
        networks = networks._replace(uncut=networks.plain, passes=passes)
        run = _Run(begin(context, networks, profile, baseline, until, pace), until)
        run.warm_up()
    run.search()
    chosen = run.chosen()
    notes = (*notes, *run.notes)
    report = account_for(run.problem, run.whole, tuple(run.entries), chosen, run.ended, notes)
    context.notify("solve", 1.0, run.verdict(chosen))
    return chosen, report, tuple(run.entries)


class _Run:
    """One search: what was tried, and why it ended."""

    def __init__(self, begun: Begun, until: float | None) -> None:
        self.problem, self.plan, pace, self.sizes, self.notes = begun
        self.whole = self.plan
        self.clock = Clock(pace, self.problem.context.store.now, until)
        self.entries: list[Entry] = []
        self.ended: SearchEnd = "done"

    @property
    def tried(self) -> list[Tried]:
        return [entry.tried for entry in self.entries]

    @property
    def uncut(self) -> Entry:
        """What is cut, before any cut and any training."""
        return Entry(Tried(1.0, 0.0), self.problem.uncut, self.sizes[0], passes=self.problem.passes)

    @property
    def original(self) -> SizedNetwork:
        """The user's own network at the build's own input: what speed-ups count from."""
        return SizedNetwork(self.problem.original, self.sizes[0])

    @property
    def may_put_back(self) -> bool:
        """Whether nobody named the activation, so that the search may leave it as it was."""
        return self.problem.context.recipe.prune.activation == "auto"

    def take_over(self, others: Sequence[Entry]) -> None:
        """Judge on this target what was tried for another one, up from the smallest size that served there.

        The first that keeps to the budget here is enough. Where none served there, all are judged.
        """
        budget = self.problem.budget
        tried = sorted((one for one in others if not one.tried.slow), key=lambda one: one.tried.share)
        served = next((at for at, one in enumerate(tried) if one.tried.keeps(budget)), 0)
        for at, entry in enumerate(tried[served:], start=served):
            above = self._beside(next(iter(tried[at + 1 :]), self.uncut))
            self.entries.append(judge_again(self.problem, entry, self.original, above))
            if self.entries[-1].tried.keeps(budget):
                break
        if self.entries:
            enough = self.entries[-1].tried.keeps(budget)
            trainings = long_recoveries(self.tried) + (0 if enough else 1)
            self.plan = replace(self.plan, shares=() if enough else self.plan.shares, trainings=trainings)
            self.notes = (*self.notes, "the sizes that were found for another target were judged on this one")

    def warm_up(self) -> bool:
        """Train what passes changed, before any cut; tell whether it may still come to the budget."""
        problem, plan = self.problem, self.plan
        if not plan.first:
            return True
        self._say(f"{plan.first} epochs before any cut")
        with self.clock.training(plan.first):
            network = finetune(problem.context, problem.uncut, problem.original, plan.first)
        own = self.sizes[0]
        short = judge(problem, SizedNetwork(network, own))
        tried = Tried(1.0, problem.counts(short))
        whole_ms = problem.table.whole_ms if problem.table else None
        gains = time_network(problem, SizedNetwork(network, own), self.original)
        gain = gains.original if gains else None
        self.entries.append(Entry(tried, network, own, None, whole_ms, gain, short, passes=problem.passes))
        self._say(f"uncut: drop {short.drop_words} on val after {plan.first} epochs")
        return not is_hopeless(tried, self.tried, plan, problem.budget)

    def search(self) -> None:
        """Make moves until there is none, the time is up, or Ctrl-C ends it with something in hand."""
        budget = self.problem.budget
        try:
            while (move := next_move(self.tried, self.plan, budget)) is not None:
                if self.entries:
                    if isinstance(move, Cut) and self._leaves_no_training(move):
                        continue
                    if not self.clock.leaves(self.plan, move):
                        if isinstance(move, Train) and self.plan.long:
                            self._go_on_untrained()
                            continue
                        self.ended = "time"
                        return
                if isinstance(move, Train):
                    self._train(move.share)
                else:
                    with self.clock.sizing():
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
        speed = (chosen.gain.words if chosen.gain else "") or share
        how = {"done": "", "time": "the time is up: ", "interrupted": "interrupted: "}[self.ended]
        none = "none keeps to the budget; the nearest is "
        kept = "" if chosen.tried.keeps(self.problem.budget) else none
        lost = f", drop {chosen.told.drop_words} on val" if chosen.told else ""
        return f"{how}{kept}{speed}{lost}"

    def _leaves_no_training(self, move: Cut) -> bool:
        """End the tries of more sizes where one more would leave no time for a long recovery; tell if so."""
        hurried = not self.plan.shares and math.isinf(self.plan.gap)
        if (
            not self.plan.long
            or hurried
            or not any(one.long is None and not one.slow and one.share < 1 for one in self.tried)
        ):
            return False
        if self.clock.leaves(self.plan, move, Train(move.share)):
            return False
        self.ended = "time"
        self.plan = replace(self.plan, shares=(), gap=math.inf)
        self.notes = (*self.notes, "the time was too short for more sizes")
        return True

    def _go_on_untrained(self) -> None:
        """Spend what is left, too little for a long recovery, on sizes that need none."""
        self.ended = "time"
        self.plan = replace(self.whole, short=0, long=0, trainings=0)
        self.notes = (*self.notes, "the time was too short for a long recovery")

    def _say(self, text: str) -> None:
        share = self.clock.share_done(self.tried, self.plan, self.problem.budget)
        self.problem.context.notify("solve", share, text)

    def _cut(self, share: float) -> None:
        """Cut to a share, give it the short recovery where it needs one, judge it."""
        problem, plan = self.problem, self.plan
        self._say(f"cut to {share:.0%} of the {'latency' if problem.table else 'work'}")
        larger = self._larger(share)
        above, after = larger[0], long_recoveries(self.tried, share)
        try:
            proposals = propose(problem, larger, share, self.sizes)
        except (BudgetError, ConfigError) as exc:
            self._give_up_below(share, str(exc))
            return
        recovery = Recovery(plan.short, self._trained, self._say)
        kept, timed = recover_rivals(problem, proposals[:RIVALS], above, self._beside(above), recovery)
        if not kept:
            slow = Tried(share, above.tried.short, slow=True, after=after)
            self.entries.append(_entry(slow, proposals[0], timed.get(proposals[0])))
            return
        best = max(kept, key=lambda one: one.score or 0.0)
        made = best.made
        judged = self._judged(SizedNetwork(best.network, made.imgsz), share, guarded=plan.long == 0)
        short = judged.accuracy
        entry = _entry(Tried(share, problem.counts(short), after=after), made, timed[made])
        scores = {one.made: one.recovered for one in kept if one.recovered is not None and len(kept) > 1}
        gain = judged.gain or entry.gain
        entry = replace(entry, network=best.network, as_cut=best.as_cut, gain=gain, short=short)
        self.entries.append(replace(entry, levers=levers_of(problem, proposals, scores, made)))
        when = "right after the cut" if best.as_cut else f"after {plan.short} epochs"
        self._say(f"{share:.0%}: drop {short.drop_words} on val {when}")

    def _beside(self, above: Entry) -> SizedNetwork:
        """Return what a size is measured beside: the next larger one; before any it is the user's own."""
        is_first = above.network == self.problem.uncut
        return self.original if is_first else SizedNetwork(above.network, above.imgsz)

    def _judged(self, network: SizedNetwork, share: float, *, guarded: bool) -> Judged:
        """Judge a network of a share: with the layers in float that it needs, or all of it as it ships."""
        if not guarded:
            return Judged(judge(self.problem, network))
        return judge_guarded(self.problem, network, self._beside(self._larger(share)[0]))

    def _larger(self, share: float) -> list[Entry]:
        """Return what a size may be cut from, the smallest first and the uncut network last."""
        known = [one for one in self.entries if not is_outdated(one.tried, self.tried)]
        larger = [one for one in known if one.tried.share > share and not one.tried.slow]
        found = sorted(larger, key=lambda entry: entry.tried.share)
        return found if any(entry.tried.share >= 1 for entry in found) else [*found, self.uncut]

    def _give_up_below(self, share: float, why: str) -> None:
        """Leave what cannot be cut out of the plan."""
        rest = tuple(one for one in self.plan.shares if one > share)
        is_smallest = all(one.share > share for one in self.tried)
        self.plan = replace(self.plan, shares=rest, gap=self.plan.gap if is_smallest else math.inf)
        self.notes = (*self.notes, f"no smaller size was cut: {why}")

    def _train(self, share: float) -> None:
        """Give the size of a share its long recovery."""
        problem, plan = self.problem, self.plan
        index = max(i for i, entry in enumerate(self.entries) if entry.tried.share == share)
        entry = self.entries[index]
        self._say(f"{plan.long} epochs for the size of {share:.0%}")
        trained = SizedNetwork(
            self._trained(SizedNetwork(entry.network, entry.imgsz), plan.long), entry.imgsz
        )
        judged = self._judged(trained, share, guarded=True)
        self.entries[index] = with_long(problem, entry, trained, judged)
        self._say(f"{share:.0%}: drop {judged.accuracy.drop_words} on val after {plan.long} epochs more")

    def _trained(self, student: SizedNetwork, epochs: int) -> Artifact:
        """Return a network after epochs of recovery."""
        context = self.problem.context.at(student.imgsz)
        with self.clock.training(epochs):
            return recover(context, student.model, self.problem.original, epochs)


def _entry(tried: Tried, made: Proposal, gains: Gains | None) -> Entry:
    """Return the entry of a proposal right after the cut."""
    gain = gains.original if gains else None
    return Entry(
        tried,
        made.network,
        made.imgsz,
        predicted_ms=made.predicted_ms,
        gain=gain,
        width=made.width,
        passes=made.passes,
        cut_from=made.cut_from,
    )
