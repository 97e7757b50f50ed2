"""A bare ONNX file is pruned exactly, saved and exported again; its file or the user tells of its input."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from edgeprune.adapters.onnx.bare import BareOnnx, configure
from edgeprune.adapters.onnx.network import Network
from edgeprune.adapters.ultralytics import detect
from edgeprune.adapters.unlabelled import Unlabelled
from edgeprune.config.recipe import Recipe, load_recipe
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError, ModelError
from edgeprune.images.preprocess import CENTRE_CROP, LETTERBOX, Preprocess
from edgeprune.models.source import ModelSource, choose_adapter
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.groups import find_groups, trace
from edgeprune.prune.proof import LIMIT, difference
from edgeprune.prune.surgery import prune
from made_onnx import Cells, Shuffled, exported

TOLD = ("input.colour=RGB", "input.scale=0.00392157", "input.resize=crop")
SIZE = (24, 32)


@pytest.fixture(scope="module")
def adapter() -> BareOnnx:
    return BareOnnx(Preprocess(SIZE))


@pytest.mark.parametrize("kind", [Cells, Shuffled])
def test_every_group_is_cut_exactly_and_a_shuffle_is_left_whole(
    kind: type, adapter: BareOnnx, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = adapter.prunable(adapter.load(exported(kind(), tmp_path / "net.onnx")))
    example, fixed = torch.zeros(1, 3, *SIZE), adapter.unprunable(model)
    groups = find_groups(trace(model, example, fixed), model, fixed)
    names = {group.name for group in groups}  # the stem's channels are numbered by the gate that scales them
    wanted = {"excite", "squeeze", "cv1_part0", "cv1_part1", "inner"} if kind is Cells else {"b", "c"}
    assert names >= wanted and "a" not in names
    doomed = {group.name: list(range(0, group.width, 3)) for group in groups}
    assert difference(model, adapter.unprunable, example, (), doomed) <= LIMIT


def test_a_pruned_network_is_saved_and_exported_with_its_names(adapter: BareOnnx, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = adapter.load(exported(Cells(), tmp_path / "net.onnx"))
    recipe = load_recipe(None, ("prune.ratio=0.3", "prune.criterion=l1")).prune
    network = adapter.prunable(model)
    cut = prune(network, adapter.unprunable, torch.zeros(1, 3, *SIZE), recipe, 4, Evidence(0, (0.7, 0.3)))
    assert cut.report.params_after < cut.report.params_before
    adapter.save(cut.model, tmp_path / "model.pt")
    again = adapter.load(tmp_path / "model.pt")
    image = torch.rand(2, 3, *SIZE)
    assert adapter.recognise(tmp_path / "model.pt") and adapter.info(again) == adapter.info(model)
    with torch.no_grad():
        assert torch.equal(again(image)[0], cut.model.eval()(image)[0])
        assert torch.equal(adapter.exportable(again)(image)[0], again(image)[0])
    torch.onnx.export(adapter.exportable(again), (image[:1],), tmp_path / "again.onnx", dynamo=False)
    names = [node.name for node in onnx.load(tmp_path / "again.onnx").graph.node]
    assert {"/stem/0/Conv", "/cv1_part0/Conv", "/head/Gemm"} <= set(names)
    own = configure(ModelSource(tmp_path / "model.pt"), Recipe())
    assert own.preprocess(SIZE) == Preprocess(SIZE)


def test_the_user_is_asked_for_what_no_file_tells(tmp_path: Path) -> None:
    source = ModelSource(exported(Cells(), tmp_path / "net.onnx"))
    with pytest.raises(ConfigError, match=r"give input\.scale, input\.resize, and input\.mean"):
        choose_adapter(source, load_recipe(None, TOLD[:1]))
    found = choose_adapter(source, load_recipe(None, (*TOLD, "input.mean=[0.5,0.5,0.5]")))
    assert isinstance(found, Unlabelled)
    model = found.load(source.file)
    told = found.info(model)
    assert (told.metric, told.names[:2], told.imgsz) == ("top-1 agreement", ("class_0", "class_1"), SIZE)
    spec = found.preprocess(SIZE)
    assert (spec.resize, spec.pad, spec.mean) == (CENTRE_CROP, None, (0.5, 0.5, 0.5))
    with pytest.raises(ConfigError, match=r"was read for 24x32 pixels, not 64x64"):
        found.preprocess(64)


def test_a_file_of_ours_or_of_ultralytics_tells_itself(
    float_models: dict[str, tuple[Artifact, object]], tmp_path: Path
) -> None:
    ours = float_models["yolov8n"][0].path
    theirs = tmp_path / "yolov8n.onnx"
    model = onnx.load(ours)
    told = {entry.key: entry.value for entry in model.metadata_props if not entry.key.startswith("edgeprune")}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, told)
    onnx.save(model, theirs)
    for path in (ours, theirs):
        found = configure(ModelSource(path), Recipe())
        network = found.load(path)
        post = found.info(network).postprocess
        assert isinstance(network, Network) and found.preprocess(64).resize == LETTERBOX
        assert (post.head, post.names) == ("raw", ("ant", "bee", "cat"))
        assert found.info(network).metric == "mAP50-95 agreement"
    wider = configure(ModelSource(theirs), load_recipe(None, ("input.colour=BGR",)))
    assert wider.preprocess(64).colour == "BGR"


def test_most_of_a_detector_is_prunable_and_its_decode_stays_in_float(
    float_models: dict[str, tuple[Artifact, object]], checkpoints: dict[str, Path]
) -> None:
    path = float_models["yolov8n"][0].path
    adapter = BareOnnx(Preprocess(64))
    model = adapter.prunable(adapter.load(path))
    fixed, example = adapter.unprunable(model), torch.zeros(1, 3, 64, 64)
    groups = find_groups(trace(model, example, fixed), model, fixed)
    own = detect.prunable(detect.load(checkpoints["yolov8n"]))
    theirs = detect.unprunable(own)
    assert len(groups) == len(find_groups(trace(own, example, theirs), own, theirs))
    assert adapter.float_nodes(["/decode/model/22/Sigmoid/Sigmoid", "/model/0/conv/Conv"]) == [
        "/decode/model/22/Sigmoid/Sigmoid"
    ]


def test_a_damaged_checkpoint_of_one_is_told(adapter: BareOnnx, tmp_path: Path) -> None:
    model = adapter.load(exported(Cells(), tmp_path / "net.onnx"))
    adapter.save(model, tmp_path / "model.pt")
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    saved["told"]["plan"]["steps"][0]["kind"] = "Everything"
    torch.save(saved, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match=r"no layer Everything can be made"):
        adapter.load(tmp_path / "odd.pt")
