"""edgeprune: prune, quantize, compile and measure vision models on the device they will run on."""

from __future__ import annotations

import edgeprune.core.threads  # noqa: F401  (it notes the user's OMP_NUM_THREADS before ultralytics sets it)
from edgeprune.core.privacy import send_nothing

__version__ = "0.5.0"

send_nothing()  # here, because libraries send when they are imported, and whatever imports them is below this
