"""Agreement of outputs: the error that is told, what counts as different, and that no time is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.jobs import TOLERANCE
from edgeprune.bench.protocol import run_workers
from edgeprune.core.errors import DeviceError
from edgeprune.images.dataset import Dataset
from edgeprune.images.postprocess import classifier
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.records.bench_result import Job
from edgeprune.records.summary import save_summary
from edgeprune.runners.local import LocalRunner
from edgeprune.verify import agreement as agreement_module
from edgeprune.verify.agreement import Agreement, Answer, Decisions, Output, compare_outputs, real_images
from made_summaries import a_summary

ANSWER = Answer(machine="aarch64", version="1", actual={}, quantized_ops=None)


def agreement(
    errors: list[float | None], decisions: Decisions | None = None, precision: str = "int8"
) -> Agreement:
    return Agreement(
        compared_utc="", name="a", tool={}, artifact={}, device={}, here=ANSWER, there=ANSWER, inputs={},
        outputs=tuple(Output(shape=(1, 2), relative_l2=error) for error in errors),
        tolerance=TOLERANCE[precision], decisions=decisions,
    )  # fmt: skip


def test_the_error_is_that_of_the_image_that_differs_most() -> None:
    expected = np.float32([[3, 4], [0, 1]])
    outputs = np.float32([[3, 4], [0, 1.5]])
    (found,) = compare_outputs([expected], [outputs])
    assert found.shape == (1, 2) and found.relative_l2 == pytest.approx(0.5)


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [np.zeros((2, 3), np.float32)],
        [np.float32([[np.nan, 4], [0, 1]])],
        [np.float32([[3, 4], [0, np.inf]])],
    ],
)
def test_a_missing_output_another_shape_or_no_number_differs(outputs: list[Any]) -> None:
    found = compare_outputs([np.float32([[3, 4], [0, 1]])], outputs)
    assert [output.relative_l2 for output in found] == [None]
    assert not agreement([None]).agrees and agreement([None]).worst is None


def test_an_output_of_zeros_agrees_only_with_zeros() -> None:
    zeros = np.zeros((1, 4), np.float32)
    assert [output.relative_l2 for output in compare_outputs([zeros, zeros], [zeros, zeros + 1])] == [
        0.0,
        2.0,
    ]


@pytest.mark.parametrize(
    ("errors", "decisions", "agrees"),
    [
        ([1e-3, 1e-2], None, True),
        ([1e-3, 3e-2], None, False),
        ([1e-3], Decisions(what="detections", count=7, shared=7), True),
        ([1e-3], Decisions(what="detections", count=7, shared=6), False),
        ([], None, False),
    ],
)
def test_every_output_and_every_decision_has_to_agree(
    errors: list[float | None], decisions: Decisions | None, agrees: bool
) -> None:
    assert agreement(errors, decisions).agrees is agrees


def test_a_kept_agreement_has_no_field_for_a_latency() -> None:
    text = str(Agreement.model_json_schema()).lower()
    assert not any(word in text for word in ("_ms", "_ns", "latency", "fps", "samples", "seconds"))


def test_without_a_build_around_it_an_engine_is_given_photographs(convnet: Path) -> None:
    images, source = real_images(convnet)
    assert images.shape == (8, 3, 32, 32) and images.dtype == np.float32 and source == "stock photographs"
    assert len({image.tobytes() for image in images}) == 8


def test_inside_a_classifiers_build_an_engine_is_given_images_of_its_validation_split(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, post = digits, classifier(digits.names)
    monkeypatch.setattr(
        agreement_module, "engine_spec", lambda _: {"preprocess": Preprocess(32), "postprocess": post}
    )
    save_summary(a_summary().model_copy(update={"data": {"path": str(data.source)}}), tmp_path)
    images, source = real_images(tmp_path / "stages" / "engine-0" / "model.onnx")
    assert source == "val split of the build"
    expected = [load_input(path, Preprocess(32))[0] for path in data.sample("val", 8, seed=0)]
    assert np.array_equal(images, np.concatenate(expected))


class Imitated(LocalRunner):
    """A device that says it is emulated."""

    name = "emulated://test"
    emulated = True

    def run(self, args: Any, timeout: float, on_line: Any = None) -> Any:
        raise AssertionError("nothing may be timed there")


def test_no_worker_is_ever_timed_on_an_emulated_device(convnet: Path) -> None:
    job = Job(
        name="a", backend="onnxruntime", engine=str(convnet), engine_sha256="", precision="fp32", threads=1,
        options={}, inputs="",
    )  # fmt: skip
    plan = BenchProfile(blocks=1, min_queries=1, min_seconds=0.0)
    with pytest.raises(DeviceError, match="an emulated device has no latency worth measuring"):
        run_workers([job], "single_stream", plan, Imitated())
