"""A face recogniser of one's own for `edgeprune build --adapter examples/faces/recogniser.py`.

MobileFaceNet (arXiv 1804.07573) with ReLU instead of PReLU, which int8 kernels fuse. It is trained with the
loss of CurricularFace (arXiv 2004.00288), and judged by verification: whether two pictures show the same
person, by the cosine of their embeddings.

    python examples/faces/recogniser.py --data people --out recogniser.pt

trains one. `people` has the folders `train` and `val`, in each one folder a person; pictures are cut to the
face. The people of `val` may be others than those of `train`.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgeprune.images.preprocess import CENTRE_CROP, Preprocess, load_input
from edgeprune.models.droppable import Droppable

FALSE_ACCEPTS = 0.01
METRIC = f"TAR at FAR {FALSE_ACCEPTS:g}"
PAIRS = 3000
"""So many pairs of the same person are judged, and as many of two; fewer where there are fewer."""
# Blocks of MobileFaceNet: factor of the inner width, width, how many, stride of the first.
LAYOUT = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class Recogniser(nn.Module):
    """Faces to embeddings of length 1; in training the margin of each person beside.

    Args:
        people: whom it is trained to tell apart.
        side: of the picture, in pixels: a multiple of 16.
        share: of MobileFaceNet's widths.
        length: of the embedding.
    """

    def __init__(self, people: Sequence[str], side: int = 112, share: float = 1.0, length: int = 128) -> None:
        super().__init__()
        self.people, self.side = list(people), side
        self.told = {"people": self.people, "side": side, "share": share, "length": length}
        before = round(64 * share)
        layers: list[nn.Module] = [*_conv(3, before, 3, 2), *_conv(before, before, 3, groups=before)]
        for factor, width, count, stride in LAYOUT:
            for index in range(count):
                after = round(width * share)
                layers.append(_Block(before, after, stride if index == 0 else 1, factor))
                before = after
        last = round(512 * share)
        self.features = nn.Sequential(*layers, *_conv(before, last, 1))
        self.spread = nn.Sequential(*_conv(last, last, side // 16, groups=last, pad=False)[:2])
        self.embedding = nn.Sequential(nn.Flatten(), nn.Linear(last, length, bias=False))
        self.margin = CurricularFace(length, len(people))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Map float32 (n, 3, side, side) in [-1, 1] to embeddings (n, length)."""
        found: torch.Tensor = self.embedding(self.spread(self.features(faces)))
        return functional.normalize(found)


class _Block(nn.Module, Droppable):
    """An inverted residual: a 1x1 convolution, a depthwise 3x3 and a linear 1x1."""

    def __init__(self, into: int, out: int, stride: int, factor: int) -> None:
        super().__init__()
        inner = factor * into
        self.layers = nn.Sequential(
            *_conv(into, inner, 1), *_conv(inner, inner, 3, stride, groups=inner), *_conv(inner, out, 1)[:2]
        )
        self.is_residual = stride == 1 and into == out

    @property
    def keeps_shape(self) -> bool:
        return self.is_residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, x + self.layers(x) if self.is_residual else self.layers(x))


def _conv(
    into: int, out: int, kernel: int, stride: int = 1, groups: int = 1, pad: bool = True
) -> list[nn.Module]:
    conv = nn.Conv2d(into, out, kernel, stride, kernel // 2 if pad else 0, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU()]


class CurricularFace(nn.Module):
    """The margin of CurricularFace: easy negatives first, hard ones the more the better the network gets."""

    ease: torch.Tensor

    def __init__(self, length: int, people: int, scale: float = 64.0, margin: float = 0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(people, length) / math.sqrt(length))
        self.register_buffer("ease", torch.zeros(()))  # t of the paper: the mean cosine so far
        self.scale, self.margin = scale, margin

    def forward(self, embeddings: torch.Tensor, people: torch.Tensor) -> torch.Tensor:
        """Return the loss of embeddings (n, length) of length 1, whose people are int64 (n,), a scalar."""
        cosines = (embeddings @ functional.normalize(self.weight).T).clamp(-1 + 1e-6, 1 - 1e-6)
        own = cosines.gather(1, people[:, None])
        # cos(a + m); beyond a = pi - m it would rise again, so a line goes on from there.
        added = own * math.cos(self.margin) - (1 - own**2).sqrt() * math.sin(self.margin)
        beyond = own - math.sin(math.pi - self.margin) * self.margin
        target = torch.where(own > math.cos(math.pi - self.margin), added, beyond)
        if self.training:
            self.ease.mul_(0.99).add_(0.01 * own.detach().mean())
        logits = torch.where(cosines > added, cosines * (self.ease + cosines), cosines)
        logits = logits.scatter(1, people[:, None], target)
        return functional.cross_entropy(self.scale * logits, people)


class Adapter:
    """What edgeprune asks of a network of one's own, see docs/own-network.md."""

    metric_name = METRIC
    input: ClassVar[dict[str, Any]] = {
        "scale": 1.0,
        "mean": [127.5] * 3,
        "std": [127.5] * 3,
        "resize": "crop",
    }
    side = 112
    """Of the pictures, in pixels: that of the training (`--side`)."""

    def load(self, path: Path) -> nn.Module:
        """Make the network of a checkpoint that `train` wrote."""
        saved = torch.load(path, weights_only=True)
        model = Recogniser(**saved["told"])
        model.load_state_dict(saved["state"])
        return model

    def example(self) -> torch.Tensor:
        """Return an input as the network takes it."""
        return torch.zeros(1, 3, self.side, self.side)

    def data(self, folder: Path) -> dict[str, list[Path]]:
        """List the pictures of a folder of people."""
        return read_people(folder)

    def loss(self, model: nn.Module, images: torch.Tensor, paths: Sequence[Path]) -> torch.Tensor:
        """Return CurricularFace's loss of a batch."""
        network = cast(Recogniser, model)
        people = torch.tensor(
            [network.people.index(path.parent.name) for path in paths], device=images.device
        )
        return cast(torch.Tensor, network.margin(network(images), people))

    def metric(self, predict: Any, samples: Any) -> float:
        """Return how many pairs of one person are accepted where few pairs of two people are."""
        pairs = [(path.parent.name, np.asarray(predict(picture)[0])) for path, picture in samples]
        same, cosines = verify(np.concatenate([found for _, found in pairs]), [name for name, _ in pairs])
        return rates(same, cosines)[0]


def read_people(folder: Path) -> dict[str, list[Path]]:
    """List the pictures of a folder with the folders `train` and `val`, in each one folder a person.

    Raises:
        ValueError: a split shows no two people of whom one has two pictures.
    """
    images: dict[str, list[Path]] = {}
    for split in ("train", "val"):
        images[split] = sorted(
            path for path in (folder / split).glob("*/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
        )
        people = people_of(images[split])
        if len(people) < 2 or len(people) == len(images[split]):
            raise ValueError(f"{folder / split}: two people at least are needed, one with two pictures")
    return images


def people_of(images: Sequence[Path]) -> list[str]:
    """Return whom pictures show, sorted: the names of their folders."""
    return sorted({path.parent.name for path in images})


def verify(embeddings: np.ndarray, people: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return of pairs whether both show the same person, bool (n,), and the cosine of their embeddings (n,).

    Args:
        embeddings: float32 (pictures, length); the pairs are drawn alike for the same people.
    """
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    first, second = np.array(list(itertools.combinations(range(len(people)), 2))).T
    names = np.asarray(people)
    same = names[first] == names[second]
    rng = np.random.default_rng(0)
    count = min(PAIRS, int(same.sum()), int((~same).sum()))
    chosen = np.concatenate([rng.permutation(np.flatnonzero(kind))[:count] for kind in (same, ~same)])
    return same[chosen], (unit[first[chosen]] * unit[second[chosen]]).sum(axis=1)


def rates(same: np.ndarray, cosines: np.ndarray, false_accepts: float = FALSE_ACCEPTS) -> tuple[float, float]:
    """Return the share of true pairs that are accepted at a false-accept rate, and the best accuracy.

    The threshold is the lowest at which at most that share of the pairs of two people is accepted.
    """
    fa, ta, _ = roc(same, cosines)
    accuracy = (ta * same.sum() + (1 - fa) * (~same).sum()) / len(same)
    return float(ta[fa <= false_accepts].max(initial=0.0)), float(accuracy.max())


def roc(same: np.ndarray, cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rates of false and of true accepts at each threshold, strictest first, from 0 to 1."""
    thresholds = np.append(np.inf, np.unique(cosines)[::-1])
    accepts = [(cosines >= limit) for limit in thresholds]
    true = np.array([each[same].mean() for each in accepts])
    false = np.array([each[~same].mean() for each in accepts])
    return false, true, thresholds


def train(data: Path, out: Path, epochs: int, **told: Any) -> float:
    """Train a recogniser, save the last epoch's, and return its share of true accepts on `val`."""
    images, adapter = read_people(data), Adapter()
    model = Recogniser(people_of(images["train"]), **told)
    faces = torch.cat([read_face(path, model.side) for path in images["train"]])
    batch = min(64, max(8, len(faces) // 10))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    steps = epochs * math.ceil(len(faces) / batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(faces)).split(batch):
            loss = adapter.loss(model, faces[chosen], [images["train"][index] for index in chosen.tolist()])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    torch.save({"told": model.told, "state": model.eval().state_dict()}, out)
    with torch.no_grad():
        samples = [(path, read_face(path, model.side)) for path in images["val"]]
        return adapter.metric(lambda face: [model(face).numpy()], samples)


def read_face(path: Path, side: int) -> torch.Tensor:
    """Read a picture as the network takes it: float32 (1, 3, side, side), RGB in [-1, 1]."""
    spec = Preprocess(side, scale=1.0, pad=None, resize=CENTRE_CROP, mean=(127.5,) * 3, std=(127.5,) * 3)
    return torch.from_numpy(load_input(path, spec)[0])


def main() -> None:
    """Train a recogniser on a folder of people."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train and val, one folder a person"
    )
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument(
        "--side", type=int, default=112, help="of the pictures: a multiple of 16, and `Adapter.side`"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of MobileFaceNet's widths")
    given = parser.parse_args()
    score = train(given.data, given.out, given.epochs, side=given.side, share=given.share)
    print(f"{given.out}: {METRIC} {score:.4f} on val")


if __name__ == "__main__":
    main()
