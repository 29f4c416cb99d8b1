"""Overrides: parameters by dotted names or nested sections, laid over a file's values one by one."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from lib.common.files import KitError

_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")  # YAML 1.1 reads 1e-3 as text, because it has no point


def flat(model: type[BaseModel], overrides: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested overrides as dotted ones; a parameter that is itself a mapping (generation.n) stays one value.

    Raises KitError when one parameter is named twice, dotted and nested, with different values.
    """
    found: dict[str, Any] = {}
    for name, value in overrides.items():
        dotted = f"{above}{name}"
        whole = isinstance(value, dict) and _section(model, dotted) is not None
        for key, one in (flat(model, value, f"{dotted}.") if whole else {dotted: value}).items():
            if key in found and found[key] != one:
                raise KitError(f"override {key!r} is given twice, as {found[key]!r} and as {one!r}; keep one of them")
            found[key] = one
    return found


def assign(values: dict, model: type[BaseModel], overrides: dict[str, Any]) -> dict:
    """Lay dotted overrides over ``values`` in place, and read numbers such as "1e-3" as numbers everywhere."""
    for dotted, value in overrides.items():
        _assign(values, model, dotted, value)
    return _numbers(values, model)


def _section(model: type[BaseModel], dotted: str) -> type[BaseModel] | None:
    """Return the section that a dotted name names, or None when it names a parameter or nothing."""
    for part in dotted.split("."):
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        model = field.annotation
    return model


def _assign(values: dict, model: type[BaseModel] | None, dotted: str, value: Any) -> None:
    *sections, leaf = dotted.split(".")
    for section in sections:
        field = model.model_fields.get(section) if model else None
        if values.get(section) is None:
            default = field.default if field else PydanticUndefined
            values[section] = dict(default) if isinstance(default, dict) else {}
        values = values[section]
        if not isinstance(values, dict):
            raise KitError(f"override {dotted!r} goes below {section!r}, which is a value and not a section")
        model = _section(model, section) if model else None
    values[leaf] = value


def _numbers(values: dict, model: type[BaseModel]) -> dict:
    for name, field in model.model_fields.items():
        value = values.get(name)
        if isinstance(value, dict) and (section := _section(model, name)):
            _numbers(value, section)
        elif field.annotation in (int, float) and isinstance(value, str) and _EXPONENT.fullmatch(value.strip()):
            number = float(value)
            values[name] = int(number) if field.annotation is int and number.is_integer() else number
    return values
