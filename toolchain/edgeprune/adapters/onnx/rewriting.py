"""Equal forms of a plan that pruning can follow: gated activations as one layer, splits moved up."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping

import torch

from edgeprune.adapters.onnx.network import Plan, Step

State = dict[str, torch.Tensor]

GATED = {"Sigmoid": "SiLU", "Hardsigmoid": "Hardswish"}
"""``x * gate(x)`` is an activation of its own."""
_ALONE = frozenset(
    {"ELU", "GELU", "Hardsigmoid", "Hardswish", "LeakyReLU", "Mish", "ReLU", "ReLU6", "SELU", "SiLU",
     "Sigmoid", "Softplus", "Tanh"}
)  # fmt: skip
"""Activations that treat each value by itself and hold no weight."""


def rewrite(plan: Plan, state: State) -> tuple[Plan, State]:
    """Return an equal network with gated activations joined and splits moved before their convolutions."""
    plan, state = _loosen_expectations(_without_idle(_join_slices(_join_gates(plan))), state)
    plan, state = _move_splits(plan, state)
    return plan, {name: tensor for name, tensor in state.items() if _owned(name, plan)}


def _owned(name: str, plan: Plan) -> bool:
    return name.rpartition(".")[0] in {step.name for step in plan.steps}


def _readers(plan: Plan) -> Counter[str]:
    """Count what reads each value; an output of the network is read once more."""
    return Counter([*(name for step in plan.steps for name in step.inputs), *plan.outputs])


def _join_gates(plan: Plan) -> Plan:
    readers = _readers(plan)
    makers = {name: step for step in plan.steps for name in step.outputs}
    joined: dict[str, Step] = {}
    gone: set[str] = set()
    for step in plan.steps:
        if step.kind != "Mul" or len(step.inputs) != 2:
            continue
        for value, gate in (step.inputs, step.inputs[::-1]):
            maker = makers.get(gate)
            if maker and maker.kind in GATED and maker.inputs == (value,) and readers[gate] == 1:
                kind = GATED[maker.kind]
                joined[step.name] = Step(name=maker.name, kind=kind, inputs=(value,), outputs=step.outputs)
                gone.add(maker.name)
                break
    steps = tuple(joined.get(step.name, step) for step in plan.steps if step.name not in gone)
    return plan.model_copy(update={"steps": steps})


def _join_slices(plan: Plan) -> Plan:
    """Write slices that part all channels of a value as one split, as other exporters do."""
    readers = _readers(plan)
    slices: dict[str, list[Step]] = {}
    for step in plan.steps:
        if step.kind == "Slice" and [(cut[0], cut[3]) for cut in step.settings["cuts"]] == [(1, 1)]:
            slices.setdefault(step.inputs[0], []).append(step)
    splits: dict[str, Step] = {}
    gone: set[str] = set()
    for value, found in slices.items():
        ordered = sorted(found, key=lambda step: step.settings["cuts"][0][1])
        ranges = [step.settings["cuts"][0][1:3] for step in ordered]
        meets = all(one[1] == other[0] for one, other in itertools.pairwise(ranges))
        if len(found) < 2 or len(found) != readers[value] or ranges[0][0] != 0 or not meets:
            continue
        sizes = [end - start for start, end in ranges]
        outputs = tuple(step.outputs[0] for step in ordered)
        first = next(step for step in plan.steps if step in found)
        told = {"sizes": sizes, "axis": 1}
        splits[first.name] = Step(
            name=first.name, kind="Split", settings=told, inputs=(value,), outputs=outputs
        )
        gone.update(step.name for step in found if step is not first)
    steps = tuple(splits.get(step.name, step) for step in plan.steps if step.name not in gone)
    return plan.model_copy(update={"steps": steps})


def _without_idle(plan: Plan) -> Plan:
    """Leave out steps whose outputs nothing reads."""
    needed, steps = set(plan.outputs), []
    for step in reversed(plan.steps):
        if needed.intersection(step.outputs):
            needed.update(step.inputs)
            steps.append(step)
    return plan.model_copy(update={"steps": tuple(reversed(steps))})


def _loosen_expectations(plan: Plan, state: State) -> tuple[Plan, State]:
    """Write a convolution whose weights are 0, 1, 2 ... out as a weighted sum: no training is to change it.

    The decode of ultralytics' detectors (DFL, arXiv 2006.04388) holds one.
    """
    state, steps = dict(state), []
    for step in plan.steps:
        weight = state.get(f"{step.name}.weight")
        if step.kind != "Conv2d" or weight is None or not _counts(step, weight):
            steps.append(step)
            continue
        value, product = f"{step.name}/bins", f"{step.name}/product"
        shape = [1, weight.numel(), 1, 1]
        state[f"{step.name}.bins.value"] = weight.reshape(shape).clone()
        told = {"axes": [1], "keepdims": True}
        steps += [
            Step(name=f"{step.name}.bins", kind="Constant", outputs=(value,),
                 settings={"shape": shape, "dtype": "float32"}),
            Step(name=f"{step.name}.Mul", kind="Mul", inputs=(*step.inputs, value), outputs=(product,)),
            Step(name=f"{step.name}.ReduceSum", kind="ReduceSum", settings=told, inputs=(product,),
                 outputs=step.outputs),
        ]  # fmt: skip
    return plan.model_copy(update={"steps": tuple(steps)}), state


def _counts(step: Step, weight: torch.Tensor) -> bool:
    """Tell whether a convolution's weights, of one output and one place, are 0, 1, 2 and so on."""
    one_place = weight.shape[0] == 1 and weight.shape[2:] == (1, 1) and weight.shape[1] > 1
    bins = torch.arange(weight.shape[1], dtype=weight.dtype)
    return one_place and not step.settings["bias"] and torch.equal(weight.flatten(), bins)


def _move_splits(plan: Plan, state: State) -> tuple[Plan, State]:
    """Cut a convolution in two or more where its output is, by its channels: C2f of ultralytics does so."""
    readers = _readers(plan)
    makers = {name: step for step in plan.steps for name in step.outputs}
    state = dict(state)
    replaced: dict[str, tuple[Step, ...]] = {}
    gone: set[str] = set()
    for split in plan.steps:
        chain = _chain(split, makers, readers)
        if not chain or any(step.name in gone for step in chain):
            continue
        parts: list[Step] = []
        start = 0
        for index, (size, out) in enumerate(zip(split.settings["sizes"], split.outputs, strict=True)):
            parts += _part(chain, index, (start, start + size), out, state)
            start += size
        replaced[split.name] = tuple(parts)
        gone.update(step.name for step in chain)
    steps = [
        each for step in plan.steps if step.name not in gone for each in replaced.get(step.name, (step,))
    ]
    return plan.model_copy(update={"steps": tuple(steps)}), state


def _chain(split: Step, makers: Mapping[str, Step], readers: Mapping[str, int]) -> list[Step]:
    """Return the convolution before a split by channels, and what is between them; empty where it is none."""
    if split.kind != "Split" or split.settings["axis"] != 1:
        return []
    chain: list[Step] = []
    value = split.inputs[0]
    while (step := makers.get(value)) is not None and readers[value] == 1:
        chain.insert(0, step)
        if step.kind == "Conv2d":
            return chain if step.settings["groups"] == 1 else []
        if step.kind not in _ALONE and step.kind != "BatchNorm2d":
            return []
        value = step.inputs[0]
    return []


def _part(chain: list[Step], index: int, channels: tuple[int, int], out: str, state: State) -> list[Step]:
    """Return a chain's steps for some of the channels, and put their weights into the state."""
    first, last = channels
    steps: list[Step] = []
    value = chain[0].inputs[0]
    for step in chain:
        name = f"{step.name}_part{index}"
        prefix = f"{step.name}."
        for key in [key for key in state if key.startswith(prefix)]:
            tensor = state[key]
            state[f"{name}.{key.removeprefix(prefix)}"] = (
                tensor[first:last].clone() if tensor.dim() else tensor
            )
        width = {"Conv2d": "out_channels", "BatchNorm2d": "num_features"}.get(step.kind)
        settings = step.settings | ({width: last - first} if width else {})
        result = out if step is chain[-1] else f"{step.outputs[0]}/part{index}"
        steps.append(Step(name=name, kind=step.kind, settings=settings, inputs=(value,), outputs=(result,)))
        value = result
    return steps
