"""A user's own network: a Python file with one class, named by ``--adapter FILE.py``.

docs/own-network.md says what the class has. The file is the user's code. It runs because it is named, in
this process, and nothing is written beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgeprune.adapters.bounded import Metric, judge
from edgeprune.adapters.own_class import CLASS, LOSS, SILENT_S, load_user, where_in
from edgeprune.adapters.sparse import sparsify
from edgeprune.adapters.user_code import code_key
from edgeprune.config.recipe import InputRecipe
from edgeprune.core.documents import validate
from edgeprune.core.errors import ConfigError, DataError, EdgepruneError, shorten
from edgeprune.images.dataset import Dataset, load_pictures
from edgeprune.images.postprocess import Postprocess, classifier, values
from edgeprune.images.preprocess import CENTRE_CROP, LETTERBOX, Preprocess, Resize, load_input
from edgeprune.images.size import ImageSize, size_of, size_words
from edgeprune.models.adapter import Batch, ModelInfo, Predict, Training
from edgeprune.models.base import BaseAdapter
from edgeprune.models.fit import require_finite
from edgeprune.models.imitation import energy_of, imitate
from edgeprune.models.plain import plain_kind, read_plain, rebuild_plain, save_plain
from edgeprune.records.resampling.evidence import Means
from edgeprune.records.scores import Accuracy

if TYPE_CHECKING:
    from edgeprune.config.recipe import Recipe
    from edgeprune.models.source import ModelSource

KIND = "own"


@dataclass(frozen=True)
class Own(BaseAdapter):
    """The adapter of one file of the user's.

    Attributes:
        code: that file.
        user: an object of its class.
        file: the checkpoint that its `load` reads.
        input: how a picture becomes the input, at any size.
        imgsz: the size that is asked for, None where it is the example's.
    """

    code: Path
    user: Any
    file: Path | None = None
    input: Preprocess = field(default_factory=lambda: Preprocess(32))
    imgsz: ImageSize | None = None

    def configure(self, source: ModelSource, recipe: Recipe) -> Own:
        """Return the adapter of one checkpoint, with the input that the class and the recipe tell."""
        told = getattr(self.user, "input", {})
        told = validate(InputRecipe, told, f"{self.code}: {CLASS}.input", ConfigError)
        given = {**_said(told), **_said(recipe.input)}
        resize: Resize = LETTERBOX if given.pop("resize", "crop") == "letterbox" else CENTRE_CROP
        pad = 114 if resize == LETTERBOX else None
        spec = Preprocess(size_of(*self._sample().shape[2:]), pad=pad, resize=resize, **given)
        return replace(self, file=source.file, input=spec, imgsz=recipe.imgsz)

    def parts(self) -> Mapping[str, Any]:
        """Return a digest of the user's file and what it imports from beside it, and the input."""
        return {"code": code_key(self.code), "input": self.input.told()}

    def recognise(self, path: Path) -> bool:
        """Tell nothing of a file: the user says what it is."""
        return False

    def load(self, path: Path, trust: bool = False) -> nn.Module:
        """Return the network of the user's `load`, or one that was made of it by pruning.

        Raises:
            ConfigError: the user's code fails, or gives no network that takes its own example.
        """
        if plain_kind(path) != KIND:
            return self._fresh(path)
        assert self.file is not None
        return rebuild_plain(read_plain(path), self._fresh(self.file), path)

    def save(self, model: nn.Module, path: Path) -> None:
        """Save a network, also a pruned one, by its weights: the user's `load` makes it anew."""
        assert self.file is not None
        save_plain(path, KIND, {}, model, self._fresh(self.file))

    def info(self, model: nn.Module) -> ModelInfo:
        """Describe the network: its outputs are scores of classes where the class has `names`."""
        names = tuple(getattr(self.user, "names", ()))
        with torch.no_grad():
            outputs = _outputs(model(self._sample()))
        return ModelInfo(
            task="classify" if names else KIND,
            family=self.code.stem,
            names=names,
            stride=1,
            imgsz=self.input.imgsz,
            metric=str(getattr(self.user, "metric_name", "metric")),
            postprocess=classifier(names, activated=False) if names else values(KIND),
            outputs=tuple(f"output{index}" for index in range(len(outputs))),
        )

    def preprocess(self, imgsz: ImageSize) -> Preprocess:
        """Return how a picture becomes the input, as the class or the recipe tells."""
        return replace(self.input, imgsz=imgsz)

    def dataset(self, path: Path, info: ModelInfo) -> Dataset:
        """List the pictures of a folder, by the user's `data` where there is one.

        Raises:
            DataError: no pictures in a split, or `data` gives something else than lists of files.
        """
        if not hasattr(self.user, "data"):
            return load_pictures(path, info.names)
        found = self._run("data", path)
        splits = found if isinstance(found, dict) else {}
        if not {"train", "val"} <= splits.keys() <= {"train", "val", "test"} or not all(splits.values()):
            raise DataError(
                f"{self.code}: data has to give lists of pictures by split: `train`, `val`, maybe `test`"
            )
        images = {split: tuple(Path(one) for one in paths) for split, paths in splits.items()}
        if missing := next((one for paths in images.values() for one in paths if not one.is_file()), None):
            raise DataError(f"{self.code}: data names {missing}, which is no file")
        return Dataset(path, info.names, images, None, is_unlabelled=True)

    def evaluate(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> Accuracy:
        """Ask the user's metric, in a thread that is watched.

        Raises:
            ConfigError: it fails, takes too long, or returns no number from 0 to 1.
        """
        paths = dataset.images[split]
        limit = float(getattr(self.user, "timeout", SILENT_S))
        samples = Samples(paths, spec)
        asked = Metric(f"{self.code}: metric", self.user.metric, limit, lambda exc: where_in(exc, self.code))
        scores = judge(asked, predict, samples)
        name = str(getattr(self.user, "metric_name", "metric"))
        found = Accuracy(metric=name, split=split, images=len(paths), score=float(scores.mean()))
        return found.made_of(Means(scores)) if scores.ndim else found

    def labelled_images(self, dataset: Dataset, spec: Preprocess, count: int, seed: int) -> Iterator[Batch]:
        """Yield up to `count` training pictures one by one, with their paths, for the user's `loss`."""
        for path in dataset.sample("train", count, seed):
            yield {"img": torch.from_numpy(load_input(path, spec)[0]), "paths": [path]}

    def training_steps(
        self, dataset: Dataset, spec: Preprocess, size: int, seed: int
    ) -> Iterator[Sequence[Batch]]:
        """Yield the training pictures once, a batch a step, not augmented: a label may be of a place."""
        paths = list(dataset.images["train"])
        order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(seed)).tolist()
        for start in range(0, len(paths), size):
            chosen = [paths[index] for index in order[start : start + size]]
            images = torch.cat([torch.from_numpy(load_input(path, spec)[0]) for path in chosen])
            yield [{"img": images, "paths": chosen}]

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return what the user's `loss` makes of a batch; without one the energy of the outputs.

        Raises:
            ConfigError: it fails, or gives no scalar with a graph behind it.
        """
        if not hasattr(self.user, "loss"):
            return energy_of(model(batch["img"]))
        found = self._run("loss", model, batch["img"], batch["paths"])
        if not isinstance(found, torch.Tensor) or found.dim() or not found.requires_grad:
            raise ConfigError(f"{self.code}: loss has to give a scalar tensor with a graph behind it")
        return found

    def require_trainings(self, recipe: Recipe) -> None:
        """Refuse a recipe with a training that needs what the class does not have."""
        super().require_trainings(recipe)
        if recipe.sparse.epochs and not hasattr(self.user, "loss"):
            raise ConfigError(
                f"sparse.epochs: {self.code}: sparse training, and so a sweep, needs {LOSS}; leave it out"
            )

    def sparsify(self, training: Training) -> None:
        """Train with the user's loss and the criterion's regulariser."""
        sparsify(self, training)

    def finetune(self, training: Training) -> None:
        """Train with the user's loss; without one by imitating the original, see `models/imitation.py`."""
        if hasattr(self.user, "loss"):
            super().finetune(training)
        else:
            imitate(self, training)

    def _sample(self) -> torch.Tensor:
        example = self._run("example")
        if (
            not isinstance(example, torch.Tensor)
            or example.dtype != torch.float32
            or example.dim() != 4
            or tuple(example.shape[:2]) != (1, 3)
        ):
            raise ConfigError(
                f"{self.code}: example has to give a float32 tensor of shape (1, 3, height, width)"
            )
        return example

    def _fresh(self, path: Path) -> nn.Module:
        model = self._run("load", path)
        if not isinstance(model, nn.Module):
            raise ConfigError(f"{self.code}: load has to give a torch.nn.Module, not {type(model).__name__}")
        model = _unwrapped(model).float().cpu().eval().requires_grad_(True)
        require_finite(model, path)
        outputs = self._tried(model, self._sample(), "its example")
        if self.imgsz is not None:
            words = f"the {size_words(self.imgsz)} of --imgsz"
            self._tried(model, torch.zeros(self.preprocess(self.imgsz).shape), words)
        given = _outputs(outputs)
        if not given:
            raise ConfigError(f"{self.code}: its network has to give a tensor, or a list or tuple of tensors")
        names, shapes = getattr(self.user, "names", ()), [tuple(output.shape) for output in given]
        if names and shapes != [(1, len(names))]:
            raise ConfigError(
                f"{self.code}: names are of {len(names)} classes, and the network's output has the shape "
                f"{', '.join(map(str, shapes))}, not (1, {len(names)}); leave out what is no class"
            )
        return model

    def _tried(self, model: nn.Module, images: torch.Tensor, what: str) -> Any:
        try:
            with torch.no_grad():
                return model(images)
        except Exception as exc:  # the user's own forward pass
            raise ConfigError(f"{self.code}: its network does not take {what}: {shorten(exc)}") from exc

    def _run(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self.user, method)(*arguments)
        except EdgepruneError:
            raise
        except (Exception, SystemExit) as exc:  # the user's code
            raise ConfigError(f"{self.code}: {method} failed: {where_in(exc, self.code)}") from exc


class Samples(Sequence[tuple[Path, Any]]):
    """The pictures of a split, each with its input for `predict`: float32 (1, 3, H, W), made when asked."""

    def __init__(self, paths: Sequence[Path], spec: Preprocess) -> None:
        self._paths, self._spec = paths, spec

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        """Return a picture's path and input, or the samples of a slice."""
        if isinstance(index, slice):
            return Samples(self._paths[index], self._spec)
        path = self._paths[index]
        return path, load_input(path, self._spec)[0]


def load_own(path: Path) -> Own:
    """Run a user's file, and return the adapter of its class.

    Raises:
        ConfigError: see `load_user`.
    """
    return Own(path, load_user(path))


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the network in what torch puts around one: for several GPUs, and by `torch.compile`."""
    wrapped = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
    inner = model.module if wrapped else getattr(model, "_orig_mod", None)
    return _unwrapped(inner) if isinstance(inner, nn.Module) else model


def _said(told: InputRecipe) -> dict[str, Any]:
    return {key: value for key, value in told.model_dump().items() if value is not None}


def _outputs(found: Any) -> list[torch.Tensor]:
    parts = [found] if isinstance(found, torch.Tensor) else found if isinstance(found, list | tuple) else []
    return list(parts) if all(isinstance(part, torch.Tensor) for part in parts) else []
