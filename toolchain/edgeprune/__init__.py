"""edgeprune: prune, quantise, compile and measure vision models on the device they will run on."""

from __future__ import annotations

__version__ = "0.2.0"
