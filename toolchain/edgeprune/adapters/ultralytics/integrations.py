"""Where ultralytics would report a training by itself: to nobody while edgeprune trains.

Its trainer calls the loggers that are installed (ClearML, Comet, DVC, MLflow, Ray, Weights & Biases), which
write into the working folder or to a server, and uploads the best weights to its own Platform where the user
has a key (`utils/callbacks/base.py` and `platform.py`, 8.4).
"""

from __future__ import annotations

import os

from ultralytics.utils import SETTINGS

_LOGGERS = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb", "sync")
_KEY = "ULTRALYTICS_API_KEY"


def report_to_nobody() -> None:
    """Switch them off in this process and in those that it starts; the user's settings file stays."""
    dict.update(SETTINGS, dict.fromkeys(_LOGGERS, False), api_key="")  # its own `update` would write the file
    os.environ.pop(_KEY, None)
