"""The script of Rockchip's converter: what it changes of the vendor's own file, and what it counts."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from edgeprune.converters.environments import SCRIPTS

CONFIGURATION = """custom_quantize_layers: {}
quantize_parameters:
    images:
        dtype: float32
        min:
        -   0
    /model.10/attn/Transpose_1_output_0_rs:
        dtype: int8
        ori_min:
        -   1.018519342607138e-21
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script as a module, beside stand-ins of what it imports of its environment."""

    class Reader:
        def __init__(self, typ: str) -> None:
            assert typ == "safe"

        def load(self, text: str) -> object:
            return yaml.safe_load(text)

    for name, facts in {
        "rknn": {},
        "rknn.api": {"RKNN": None},
        "ruamel": {},
        "ruamel.yaml": {"YAML": Reader},
    }.items():
        module = ModuleType(name)
        vars(module).update(facts)
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("rknn_convert", SCRIPTS / "rknn_convert.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_layers_of_the_guard_are_named_and_no_number_changes(script: ModuleType, tmp_path: Path) -> None:
    config = tmp_path / "body.quantization.cfg"
    config.write_text(CONFIGURATION)
    script.keep_in_float(config, ["/model.10/attn/Transpose_1_output_0_rs", "/fused/away"])
    first, rest = config.read_text().split("\n", 1)
    assert yaml.safe_load(first) == {
        "custom_quantize_layers": {"/model.10/attn/Transpose_1_output_0_rs": "float16"}
    }
    assert rest == CONFIGURATION.split("\n", 1)[1], "step two refuses a number whose last digit is another"


def test_a_configuration_of_another_form_ends_the_build(script: ModuleType, tmp_path: Path) -> None:
    config = tmp_path / "body.quantization.cfg"
    config.write_text("quantize_parameters: {}\n")
    with pytest.raises(SystemExit, match="custom_quantize_layers"):
        script.keep_in_float(config, [])


def test_operators_of_each_processor_are_counted(script: ModuleType) -> None:
    log = "".join(
        f"D RKNN: [23:11:02.123] {number}    {kind}   INT8  {processor}   (1,3,64,64) \n"
        for number, (kind, processor) in enumerate(
            [("InputOperator", "CPU"), ("ConvRelu", "NPU"), ("exSoftmax13", "CPU"), ("Conv", "NPU")]
        )
    )
    assert json.loads(json.dumps(script.placed(log))) == {
        "taken": 2,
        "operators": 3,
        "left": {"exSoftmax13": 1},
    }
