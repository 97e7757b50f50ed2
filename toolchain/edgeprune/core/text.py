"""Nested data as lines of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def flatten(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Turn nested data into (dotted key, text) pairs, in order."""
    pairs: list[tuple[str, str]] = []
    for key, value in data.items():
        name = f"{prefix}{key}"
        match value:
            case dict() if value:
                pairs += flatten(value, f"{name}.")
            case list() | tuple() if all(isinstance(item, str | int | float) for item in value):
                pairs.append((name, ", ".join(str(item) for item in value)))
            case list() | tuple() | dict():
                pairs.append((name, json.dumps(value, ensure_ascii=False, default=str)))
            case _:
                pairs.append((name, "" if value is None else str(value)))
    return pairs
