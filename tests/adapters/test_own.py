"""A user's own network: the page's example works as it stands, and every fault of a file is one line."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeprune.adapters.own import load_own
from edgeprune.config.recipe import load_recipe
from edgeprune.core.errors import ConfigError, DataError
from edgeprune.images.dataset import Dataset
from edgeprune.models import Training
from edgeprune.models.source import ModelSource, choose_adapter
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.surgery import prune
from made_matches import whole

PAGE = Path(__file__).parents[2] / "docs" / "own-network.md"
CODE = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]  # type: ignore[index]


def written(folder: Path, code: str = CODE) -> Path:
    path = folder / "my_net.py"
    path.write_text(code)
    return path


def asked(folder: Path, code: str = CODE, *settings: str) -> Any:
    """Return the adapter of a file and of an untrained checkpoint of its network."""
    path = written(folder, code)
    file = folder / "digits.pth"
    torch.manual_seed(0)
    torch.save(sys.modules[load_own(path).user.__module__].Net().state_dict(), file)
    return choose_adapter(ModelSource(file, adapter=str(path)), load_recipe(None, settings))


def pictures(digits: Dataset, folder: Path) -> Path:
    """Return the digits in folders that are called as the page's classes."""
    for source in digits.source.glob("*/*"):
        shutil.copytree(source, folder / source.parent.name / source.name.replace("3", "2"))
    return folder


def test_the_pages_example_is_short_and_its_network_is_pruned_and_trained_back(
    digits: Dataset, tmp_path: Path
) -> None:
    assert len(CODE.splitlines()) < 80
    adapter = asked(tmp_path)
    model = adapter.load(adapter.file)
    info = adapter.info(model)
    assert (info.imgsz, info.metric, info.names, info.family) == (32, "top-1", ("0", "1", "2"), "my_net")
    data = adapter.dataset(pictures(digits, tmp_path / "data"), info)
    asked_for = ("prune.ratio=0.4", "prune.criterion=l1", "finetune.epochs=3", "finetune.batch=8")
    recipe = load_recipe(None, asked_for)
    cut = prune(
        adapter.prunable(model), adapter.unprunable, torch.zeros(1, 3, 32, 32), recipe.prune, 8, Evidence()
    )
    student, out = tmp_path / "student.pt", tmp_path / "out.pt"
    adapter.save(cut.model, student)
    assert cut.report.params_after < cut.report.params_before and not cut.report.whole
    adapter.finetune(Training(student, adapter.file, data, 32, recipe, out, lambda *_: None))
    trained = adapter.load(out)
    image = torch.rand(1, 3, 32, 32)
    assert trained(image).shape == (1, 3) and not torch.equal(trained(image), cut.model(image))
    batches = adapter.labelled_images(data, adapter.preprocess(32), 2, 0)
    assert all(adapter.loss(model, batch).requires_grad for batch in batches)
    assert not list(tmp_path.glob("__pycache__"))


def test_the_metric_sees_what_edgeprune_prepared(digits: Dataset, tmp_path: Path) -> None:
    adapter = asked(tmp_path, CODE, "input.std=[0.25,0.25,0.25]")
    info = adapter.info(adapter.load(adapter.file))
    data = adapter.dataset(pictures(digits, tmp_path / "data"), info)
    spec = adapter.preprocess(32)
    assert (spec.mean, spec.std, spec.scale) == ((0.5,) * 3, (0.25,) * 3, 1 / 255)
    seen: list[Any] = []

    def predict(image: Any) -> list[Any]:
        seen.append(image.shape)
        return [np.array([[0.0, 1.0, 0.0]])]

    found = adapter.evaluate(predict, data, "val", spec, info.postprocess)
    assert (found.score, found.images, set(seen)) == (pytest.approx(1 / 3), 12, {(1, 3, 32, 32)})


def test_of_one_number_a_picture_the_mean_is_the_score(digits: Dataset, tmp_path: Path) -> None:
    adapter = asked(tmp_path, CODE.replace("return sum(right) / len(right)", "return right"))
    data = adapter.dataset(pictures(digits, tmp_path / "data"), adapter.info(adapter.load(adapter.file)))
    found = adapter.evaluate(lambda _: [np.eye(3)[1:2]], data, "val", adapter.preprocess(32), None)
    assert found.score == pytest.approx(1 / 3)
    assert whole(found.evidence, 12) == pytest.approx(1 / 3)


REST = CODE[: CODE.index("    def load")]
FAULTS = {
    "a syntax error": ("x = 1\ndef load(:\n", r"my_net\.py:2: syntax error: "),
    "no class": ("x = 1\n", r"my_net\.py: a class Adapter is expected with load, example, metric$"),
    "its methods": (
        "class Adapter:\n    def metric(self, predict): ...\n",
        r"lacks the methods load, example; metric is called as metric\(self, predict, samples\)$",
    ),
    "an import": ("import nothing_of_this_name\n", r"running it failed: line 1: ModuleNotFoundError: "),
    "a script": ("import sys\nsys.exit('usage')\n", r"running it failed: line 2: SystemExit: usage$"),
    "its attributes": (
        CODE.replace("names = NAMES", "names = {0: 'a'}\n    timeout = 'long'"),
        r"class Adapter: names has to be a list.*; timeout has to be a number of seconds above 0$",
    ),
    "names are of others": (
        CODE.replace("names = NAMES", "names = ('a', 'b')"),
        r"names are of 2 classes, and the network's output has the shape \(1, 3\), not \(1, 2\)",
    ),
    "its constructor": (
        CODE.replace("class Adapter:\n", "class Adapter:\n    def __init__(self):\n        1 / 0\n"),
        r"Adapter\(\) failed: line \d+: ZeroDivisionError: division by zero$",
    ),
    "load fails": (
        CODE.replace("model = Net()", "raise OSError('no disk')"),
        r"load failed: line \d+: OSError: no disk$",
    ),
    "load gives a dictionary": (
        CODE.replace("        return model\n", "        return {}\n"),
        r"load has to give a torch\.nn\.Module, not dict$",
    ),
    "example is of another shape": (
        CODE.replace("torch.zeros(1, 3, 32, 32)", "torch.zeros(3, 32, 32)"),
        r"example has to give a float32 tensor",
    ),
    "the network does not take it": (
        CODE.replace("self.stem(images)", "self.stem(images[:, :1])"),
        r"its network does not take its example: ",
    ),
    "the network gives a dictionary": (
        CODE.replace("return self.head(", "return dict(x="),
        r"network has to give a tensor, or a list or tuple",
    ),
    "input is misspelt": (CODE.replace('"mean"', '"means"'), r"Adapter\.input: .*means"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_file_is_one_line(tmp_path: Path, name: str) -> None:
    code, said = FAULTS[name]
    path, file = written(tmp_path, code), tmp_path / "digits.pth"
    module = sys.modules[load_own(written(tmp_path)).user.__module__] if "Net" in code else None
    if module is not None:
        torch.save(module.Net().state_dict(), file)
    path.write_text(code)
    with pytest.raises(ConfigError, match=said) as caught:
        adapter = choose_adapter(ModelSource(file, adapter=str(path)), load_recipe())
        adapter.info(adapter.load(file))
    assert "\n" not in str(caught.value) and caught.value.exit_code == 3


def test_a_network_is_taken_out_of_what_torch_puts_around_it(tmp_path: Path) -> None:
    code = CODE.replace("return model\n", "return torch.compile(nn.DataParallel(model))\n")
    adapter = asked(tmp_path, code)
    assert type(adapter.load(adapter.file)).__name__ == "Net"


def test_a_size_that_the_network_does_not_take_is_told_before_any_work(tmp_path: Path) -> None:
    code = CODE.replace("Linear(64", "Linear(64 * 64").replace(".mean((2, 3))", ".flatten(1)")
    assert asked(tmp_path, code).load(tmp_path / "digits.pth")
    adapter = asked(tmp_path, code, "imgsz=64")
    with pytest.raises(ConfigError, match=r"network does not take the 64 px of --imgsz: mat1 and mat2"):
        adapter.load(adapter.file)


METRICS = {
    "raises": ("raise KeyError('cat')", r"metric failed: line \d+: KeyError: 'cat'$"),
    "ends the process": ("raise SystemExit(0)", r"metric failed: line \d+: SystemExit: 0$"),
    "returns NaN": ("return float('nan')", r"metric returned nan; a number from 0 to 1 is needed"),
    "returns a percentage": ("return 93.5", r"metric returned 93\.5; a number from 0 to 1"),
    "returns too few": ("return [0.5, 1]", r"of shape \(2,\); one number is needed, or one for each"),
    "returns a bad one": ("return [0.5] * 11 + [7]", r"metric returned 7; a number from 0 to 1 is needed"),
    "returns nothing": ("return None", r"metric has to return a number, not NoneType$"),
    "hangs": ("import threading; threading.Event().wait()", r"has not called predict for 0\.2 s.*`timeout`"),
}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_gives_no_score_is_one_line(digits: Dataset, tmp_path: Path, name: str) -> None:
    body, said = METRICS[name]
    code = CODE.replace("        right = [predict", f"        {body}\n        right = [predict")
    adapter = asked(tmp_path, code.replace("class Adapter:\n", "class Adapter:\n    timeout = 0.2\n"))
    data = adapter.dataset(digits.source, adapter.info(adapter.load(adapter.file)))
    with pytest.raises(ConfigError, match=said) as caught:
        adapter.evaluate(lambda _: [np.zeros((1, 3))], data, "val", adapter.preprocess(32), None)
    assert "\n" not in str(caught.value)


def test_the_users_own_data_and_no_loss(digits: Dataset, tmp_path: Path) -> None:
    listing = (
        "    def data(self, folder):\n        return {'train': list(folder.glob('train/*/*')), 'val': %s}\n"
    )
    code = CODE[: CODE.index("    def loss")]
    adapter = asked(tmp_path, code + listing % "list(folder.glob('val/*/*'))")
    info = adapter.info(adapter.load(adapter.file))
    assert {split: len(found) for split, found in adapter.dataset(digits.source, info).images.items()} == {
        "train": 24,
        "val": 12,
    }
    network = adapter.load(adapter.file)
    energy = adapter.loss(network, {"img": torch.rand(1, 3, 32, 32)})  # what criteria take in its place
    assert energy.requires_grad and float(energy.detach()) == pytest.approx(1)
    for wrong, said in (
        ("[]", "lists of pictures by split"),
        ("[folder / 'x.png']", r"x\.png, which is no file"),
    ):
        adapter = asked(tmp_path, code + listing % wrong)
        with pytest.raises(DataError, match=said):
            adapter.dataset(digits.source, info)
