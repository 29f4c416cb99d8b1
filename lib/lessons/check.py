"""Check an answer to an exercise: against the reference on small cases, with the typical mistakes told in words."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import yaml

from lib.common.bundled import data_path
from lib.common.files import KitError


def check(name: str, answer: Callable) -> str:
    """Return a sentence when ``answer`` gives what the reference gives on every case of the exercise ``name``.

    Raises KitError otherwise, in words: not written yet, stops, returns nothing, a known mistake (one that gives the
    same values on every case), or the first case that differs with both values.
    """
    from lib.lessons.exercises import EXERCISES

    if name not in EXERCISES:
        raise KitError(f"there is no exercise {name!r}; there are {', '.join(EXERCISES)}")
    task = EXERCISES[name]
    given = {case: _call(name, answer, case, arguments) for case, arguments in task.cases.items()}
    right = {case: task.reference(*copy.deepcopy(arguments)) for case, arguments in task.cases.items()}
    lost = [case for case in given if not _same(given[case], right[case])]
    if not lost:
        return f"right: {answer.__name__} gives what the reference gives, in {len(given)} cases"
    if all(value is None for value in given.values()):
        raise KitError(f"{name} returns nothing; does it end with `return`?")
    for kind, mistake in task.mistakes.items():
        if all(_same(given[case], _try(mistake, task.cases[case])) for case in given):
            raise KitError(f"not yet: {hints()[name][kind]}")
    case, good = lost[0], len(given) - len(lost)
    both = f"yours gives {_shown(given[case])}, the reference {_shown(right[case])}"
    raise KitError(f"not yet: of {len(given)} cases {good} are right; {case}: {both}")


@cache
def hints() -> dict[str, dict[str, str]]:
    """Return what is said to the typical mistakes: {exercise: {mistake: sentence}}."""
    return yaml.safe_load(data_path("hints.yaml").read_text(encoding="utf-8"))


def _call(name: str, answer: Callable, case: str, arguments: tuple) -> Any:
    try:
        return answer(*copy.deepcopy(arguments))
    except NotImplementedError:
        raise KitError(f"{name} is not written yet; put your code in place of the line `raise ...`") from None
    except Exception as error:
        raise KitError(f"{name} stops with {type(error).__name__}: {error} ({case})") from None


def _try(wrong: Callable, arguments: tuple) -> Any:
    try:
        return wrong(*copy.deepcopy(arguments))
    except Exception:
        return NotImplemented  # equals no answer


def _same(one: Any, other: Any) -> bool:
    """Say whether two results are the same, numbers to 1e-5; a tensor or array of one number is a number."""
    if any(value is None or isinstance(value, dict | str) or value is NotImplemented for value in (one, other)):
        return type(one) is type(other) and one == other
    try:
        a, b = (np.asarray(getattr(value, "detach", lambda v=value: v)(), dtype=float) for value in (one, other))
    except (TypeError, ValueError):
        return False
    return a.size == b.size == 1 and bool(np.isclose(a.item(), b.item(), rtol=1e-5, atol=1e-5))


def _shown(value: Any) -> str:
    if hasattr(value, "detach") or isinstance(value, float | np.floating):
        value = np.asarray(value.detach() if hasattr(value, "detach") else value)
        return f"{value.item():.4f}" if value.size == 1 else f"{value.size} numbers"
    return repr(value)[:160]
