"""What is common to all that a user configures: keys that are known, and numbers that are numbers."""

from __future__ import annotations

from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator


def require_number(value: Any) -> Any:
    """Return a value that is no truth value, which Python takes for the numbers 0 and 1.

    Raises:
        ValueError: it is one.
    """
    if isinstance(value, bool):
        raise ValueError(f"a number is expected, not {str(value).lower()}")
    return value


IS_NUMBER: Final = BeforeValidator(require_number)
"""For numbers inside a list or a mapping; a key of its own is checked by its `Section`."""


class Section(BaseModel):
    """Keys and values that a user writes: an unknown key is refused, and so is a number that is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        takes = _kinds(cls.model_fields[str(info.field_name)].annotation)
        return require_number(value) if {int, float} & takes and bool not in takes else value


def _kinds(annotation: Any) -> set[Any]:
    return set(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else {annotation}
