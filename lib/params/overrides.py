"""A parameter file, overrides laid over it by dotted or nested names, and a wrong value told in one sentence."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lib.common.bundled import ROOT
from lib.common.files import KitError


def find(name_or_path: str | Path) -> Path:
    """Return the YAML file of a profile name or path (tried as given, then from the kit's root)."""
    given = Path(name_or_path)
    for candidate in (given, ROOT / given, ROOT / "params" / f"{name_or_path}.yaml"):
        if candidate.is_file():
            return candidate.resolve()
    profiles = sorted(path.stem for path in (ROOT / "params").glob("*.yaml"))
    near = difflib.get_close_matches(given.stem, profiles, n=1)
    raise KitError(
        f"no parameter file {name_or_path}; the profiles are {', '.join(profiles)}"
        + (f" (did you mean {near[0]}?)" if near else "")
    )


def read(path: Path) -> dict[str, Any]:
    """Return the values of a parameter file. Raises KitError, with the line, for one that is no YAML mapping."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise KitError(f"{path}{line} cannot be read as YAML; fix it or restore it from git") from error
    if not isinstance(values, dict):
        raise KitError(f"{path} holds no parameters; it must be a YAML mapping like params/classroom.yaml")
    return values


def flat(model: type[BaseModel], overrides: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested overrides as dotted ones; a parameter that is itself a mapping (generation.n) stays one value.

    Raises KitError when one parameter is named twice, dotted and nested, with different values.
    """
    found: dict[str, Any] = {}
    for name, value in overrides.items():
        section = _section(model, name) if isinstance(value, dict) else None
        inside = flat(section, value, f"{above}{name}.") if section else {f"{above}{name}": value}
        for key, one in inside.items():
            if key in found and found[key] != one:
                raise KitError(f"override {key!r} is given twice, as {found[key]!r} and as {one!r}; keep one of them")
            found[key] = one
    return found


def lay_over(model: type[BaseModel], values: dict, dotted: str, value: Any) -> None:
    """Lay one dotted override over ``values``, in place; ``generation.n.sts`` keeps the other categories."""
    inside: type[BaseModel] | None = model
    *above, last = dotted.split(".")
    for name in above:
        if values.get(name) is None:
            default = inside.model_fields[name].default if inside and name in inside.model_fields else None
            values[name] = dict(default) if isinstance(default, dict) else {}
        values, inside = values[name], _section(inside, name)
        if not isinstance(values, dict):
            raise KitError(f"override {dotted!r} goes below {name!r}, which is a value and not a section")
    values[last] = value


def _section(model: type[BaseModel] | None, name: str) -> type[BaseModel] | None:
    """Return the section of that name, None for a parameter and for an unknown name."""
    kind = model.model_fields[name].annotation if model and name in model.model_fields else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def complaint(model: type[BaseModel], error: ValidationError, path: Path) -> str:
    """Turn pydantic's first complaint into one sentence that names the parameter and the fix."""
    first = error.errors()[0]
    dotted = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        sections = {name: _section(model, name) for name in model.model_fields}
        known = [f"{name}.{inner}" for name, section in sections.items() if section for inner in section.model_fields]
        near = difflib.get_close_matches(dotted, [*sections, *known], n=1, cutoff=0.5)
        return f"unknown parameter {dotted!r} in {path.name}" + (f"; did you mean {near[0]!r}?" if near else "")
    if first["type"] == "missing":
        return f"parameter {dotted!r} is missing in {path.name}; add it, see params/classroom.yaml"
    message = first["msg"][0].lower() + first["msg"][1:].rstrip(".")
    message = message.replace("a valid tuple", "a list, such as [0, 1]").replace("tuple should", "the list should")
    return f"parameter {dotted!r} in {path.name} is {first['input']!r}: {message}"
