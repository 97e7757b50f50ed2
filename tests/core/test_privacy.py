"""Nothing is sent home: the switch of each library is thrown before it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def _said(code: str, temporary: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": os.environ["PATH"], "HOME": str(temporary), "TMPDIR": str(temporary)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_onnx_runtime_neither_reports_nor_writes_to_the_temporary_folder(tmp_path: Path) -> None:
    code = "import edgeprune, os, onnxruntime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert _said(code, tmp_path) == "1\n"
    assert list(tmp_path.iterdir()) == []


def test_openvino_and_nncf_have_nobody_to_report_to(tmp_path: Path) -> None:
    code = (
        "import edgeprune, openvino, sys\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "import nncf.telemetry\n"
        "print(telemetry_utils.tm.__name__, type(nncf.telemetry.telemetry).__name__ == 'NNCFTelemetry')\n"
        "assert not [name for name, module in sys.modules.items() if 'openvino_telemetry' in name and module]"
    )
    assert _said(code, tmp_path) == "openvino.tools.ovc.telemetry_stub False\n"
    assert not (tmp_path / "intel").exists()


def test_ultralytics_sends_no_event(tmp_path: Path) -> None:
    code = "import edgeprune; from ultralytics.utils.events import events; print(events.enabled)"
    assert _said(code, tmp_path).splitlines()[-1] == "False"


def test_a_training_is_reported_to_nobody_and_the_users_settings_stay(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys, types\n"
        "os.environ['ULTRALYTICS_API_KEY'] = 'hush'\n"
        "os.environ['YOLO_CONFIG_DIR'] = sys.argv[1] if len(sys.argv) > 1 else os.environ['HOME']\n"
        "from ultralytics.utils import SETTINGS\n"
        "SETTINGS.update({'wandb': True, 'api_key': 'hush'})\n"
        "before = pathlib.Path(SETTINGS.file).read_bytes()\n"
        "import edgeprune.adapters.ultralytics.finetune\n"
        "from ultralytics.utils.callbacks import base, platform\n"
        "platform.TESTS_RUNNING = False\n"
        "trainer = types.SimpleNamespace(args=types.SimpleNamespace(project='p', name='n'))\n"
        "platform.on_pretrain_routine_start(trainer)\n"
        "print(hasattr(trainer, 'platform'), 'hush' in str(dict(SETTINGS)) + str(dict(os.environ)),\n"
        "      any(SETTINGS[name] for name in ('wandb', 'mlflow', 'comet', 'clearml', 'dvc')),\n"
        "      before == pathlib.Path(SETTINGS.file).read_bytes())"
    )
    assert _said(code, tmp_path).splitlines()[-1] == "False False False True"
