"""A torchvision classifier pruned with its labels, and as a bare ONNX file without them.

    python -m benchmarks.classifiers --out classifiers

The set is cut out of ../shared/data/bccd: each blood cell is a picture, its class the folder. A resnet18 is
trained on it from scratch at 64 pixels, saved as people save one (a state_dict), and exported to ONNX. Then
`edgeprune build` prunes both. What is chosen is judged by the labels of the test split, which the second
build has not seen. About 20 minutes on one core; what is there already is not made again.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from torch.nn import functional

from edgeprune.adapters import top_k
from edgeprune.backends import get_backend, options_for
from edgeprune.config.targets import resolve_targets
from edgeprune.images.dataset import Dataset, load_dataset, load_folders
from edgeprune.images.postprocess import classifier
from edgeprune.images.preprocess import CENTRE_CROP, Preprocess, load_input, read_image
from edgeprune.images.spec import spec_of
from edgeprune.models.predictor import predictor
from edgeprune.records.summary import Summary, load_summary

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "bccd" / "data.yaml"
IMGSZ, EPOCHS, BATCH, LR = 64, 20, 32, 0.002
MOST = {"train": 300, "val": 90, "test": 90}
"""Pictures of a class in a split: red cells are many, the others few."""
MARGIN, SMALLEST = 0.1, 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SPEC = Preprocess(IMGSZ, pad=None, resize=CENTRE_CROP, mean=MEAN, std=STD)
SHARED_OPTIONS = ("--imgsz", str(IMGSZ), "--seed", "0")
INPUT = (
    "input.colour=RGB", f"input.scale={1 / 255}", f"input.mean={list(MEAN)}", f"input.std={list(STD)}",
    "input.resize=crop",
)  # fmt: skip


def cut_cells(source: Path, out: Path) -> Path:
    """Write every class's cells as square pictures, a folder a class; return the folder of the splits."""
    dataset, draw = load_dataset(source), random.Random(0)
    for split, most in MOST.items():
        cells: dict[int, list[tuple[Path, int, np.ndarray]]] = {}
        for image in dataset.images[split]:
            for index, box in enumerate(dataset.boxes(image)):
                cells.setdefault(int(box[0]), []).append((image, index, box[1:]))
        for label, found in cells.items():
            folder = out / split / dataset.names[label]
            folder.mkdir(parents=True, exist_ok=True)
            for image, index, box in draw.sample(found, min(most, len(found))):
                cell = square_around(read_image(image), box)
                if cell is not None:
                    cv2.imwrite(str(folder / f"{image.stem}_{index}.png"), cell)
    return out


def square_around(image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """Return the square around a box in shares of the image; None of a cell that is cut off or tiny."""
    height, width = image.shape[:2]
    x, y, wide, high = box * (width, height, width, height)
    half = max(wide, high) * (0.5 + MARGIN)
    left, top, right, bottom = (round(edge) for edge in (x - half, y - half, x + half, y + half))
    if left < 0 or top < 0 or right > width or bottom > height or right - left < SMALLEST:
        return None
    return image[top:bottom, left:right]


def batches(
    dataset: Dataset, inputs: dict[Path, torch.Tensor]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the training pictures once, shuffled, some mirrored and turned upside down."""
    paths = list(inputs)
    random.shuffle(paths)
    for start in range(0, len(paths) - BATCH + 1, BATCH):
        chosen = paths[start : start + BATCH]
        images = [inputs[path].flip(*[d for d in (2, 3) if random.random() < 0.5] or [0]) for path in chosen]
        yield torch.cat(images), torch.tensor([dataset.class_of(path) for path in chosen])


def train(data: Path, epochs: int) -> torch.nn.Module:
    """Return a resnet18 trained from scratch."""
    torch.manual_seed(0)
    random.seed(0)
    dataset = load_folders(data, tuple(sorted(folder.name for folder in (data / "train").iterdir())))
    model = torchvision.models.resnet18(num_classes=len(dataset.names))
    inputs = {path: torch.from_numpy(load_input(path, SPEC)[0]) for path in dataset.images["train"]}
    steps = epochs * (len(inputs) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, steps)
    for epoch in range(epochs):
        model.train()
        losses = []
        for images, labels in batches(dataset, inputs):
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(images), labels, label_smoothing=0.1)
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        post = classifier(dataset.names, activated=False)
        score = top_k.evaluate(predictor(model.eval()), dataset, "val", SPEC, post).score
        print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.3f}, top-1 {score:.4f}", flush=True)
    return model.eval()


def labelled(data: Path) -> Dataset:
    """Return the pictures with the sorted folders for classes, as torchvision's ImageFolder has them."""
    return load_folders(data, tuple(sorted(folder.name for folder in (data / "train").iterdir())))


def make(source: Path, out: Path, epochs: int) -> None:
    """Make the pictures, the trained weights and the ONNX file, as far as they are not there."""
    if not (out / "cells").is_dir():
        cut_cells(source, out / "cells")
    if (out / "resnet18.onnx").is_file():
        return
    model = train(out / "cells", epochs)
    torch.save(model.state_dict(), out / "resnet18.pt")
    torch.onnx.export(
        model,
        (torch.zeros(SPEC.shape),),
        str(out / "resnet18.onnx"),
        input_names=["images"],
        output_names=["logits"],
        opset_version=17,
        dynamo=False,
    )


def build(model: Sequence[str], out: Path, options: Sequence[str]) -> Summary:
    """Run `edgeprune build`; one that finds no row in the budget has its summary too."""
    command = [sys.executable, "-m", "edgeprune", "build", *model, "--out", str(out), *options]
    print(" ".join(command[1:]), flush=True)
    subprocess.run(command, check=False)
    return load_summary(out)


def told(name: str, summary: Summary, out: Path, data: Path) -> str:
    """Return a line of the table: the chosen row, and its top-1 on the labels of the test split."""
    row = summary.chosen
    if row is None or row.artifact is None:
        return f"| {name} | no row in the budget: {summary.verdict} | | | |"
    target = next(one for one in resolve_targets((row.target,)) if one.name == row.target)
    engine, spec = out / row.artifact, spec_of(out / "best")
    session = get_backend(target.backend).load(engine, row.precision, 1, options_for(target, row.precision))
    found = top_k.evaluate(session, labelled(data), "test", spec.preprocess, spec.postprocess)
    cells = (name, row.label, f"{row.p50_ms:.3f}", f"{row.speedup:.2f}x", f"{row.size_mb:.2f}")
    return f"| {' | '.join(cells)} | {found.score:.4f} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is not there, build both, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=SHARED, help="data.yaml of the blood cells")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the training from scratch")
    parser.add_argument("options", nargs="*", help="options of both builds, behind --")
    options = parser.parse_args(arguments)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    make(options.data, out, options.epochs)
    common = (*SHARED_OPTIONS, "--data", str(out / "cells"), *options.options)
    named = ("--model", "torchvision:resnet18", "--weights", str(out / "resnet18.pt"))
    bare = ("--model", str(out / "resnet18.onnx"), *(part for text in INPUT for part in ("--set", text)))
    rows = [
        told(name, build(model, out / name, common), out / name, out / "cells")
        for name, model in (("labels", named), ("no-labels", bare))
    ]
    print("| build | chosen row | p50 ms | speed-up over the original | MB | top-1 on test, by its labels |")
    print("|---|---|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
