"""What the libraries would send home by themselves, switched off before any of them is imported.

Each switch was read in the installed package: ONNX Runtime's `Privacy.md`, ultralytics' `utils/events.py`,
openvino's `tools/ovc/telemetry_utils.py`, NNCF's `telemetry/wrapper.py`. Standard library only: it travels.
"""

from __future__ import annotations

import os
import sys

VARIABLES = {
    # Nor does it then write a file of a fixed name into the temporary folder, which followed a link there.
    "ORT_DISABLE_TELEMETRY": "1",
    # No analytics, no error reports, and no look-up of two hosts to tell whether there is a network.
    "YOLO_OFFLINE": "true",
}
_REPORTER = "openvino_telemetry"  # a package of its own; openvino and NNCF do without


def send_nothing() -> None:
    """Switch the reports of all libraries off, for this process and those that it starts."""
    os.environ.update(VARIABLES)
    if _REPORTER not in sys.modules:
        sys.modules[_REPORTER] = None  # type: ignore[assignment]  # as Python has it: it cannot be imported
