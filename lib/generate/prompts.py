"""Prompts: the templates of the six categories and a slot sampler that gives row i the same slots always.

A template is a JSON file in the form of the released generator: ``prompt_template`` (``str.format``
placeholders), ``args`` (values per slot), ``args_p`` (their probabilities; uniform when missing) and
``constraints``. Files in that form load unchanged. Ours add three things: a string in place of a list names
a file beside the template, ``constants`` fill placeholders that are not drawn, and ``variants`` hold what
Wang et al. and the classroom do differently (paper, appendix B; the released code is the base form).
"""

from __future__ import annotations

import hashlib
import json
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.common.bundled import DATA
from lib.common.design import CODES
from lib.common.files import KitError, read_json

FOLDER = DATA / "templates"
VARIANTS = ("released", "wang2024", "classroom")
BRAINSTORMED = ("short_short", "short_long", "long_short", "long_long")
KEYS = {
    "short_short": ("input", "positive_document"),
    "short_long": ("user_query", "positive_document", "hard_negative_document"),
    "long_short": ("input_text", "label", "misleading_label"),
    "long_long": ("input", "positive_document"),
    "sts": ("S1", "S2", "S3"),
    "bitext": ("S1", "S2", "S3"),
}
FIXED_INSTRUCTION = {"sts": "Retrieve semantically similar text.", "bitext": "Retrieve parallel sentences."}


@dataclass(frozen=True)
class Template:
    """One prompt template: its text, the values of each slot, their probabilities, and pairs that must differ."""

    text: str
    args: dict[str, tuple[str, ...]]
    weights: dict[str, tuple[float, ...]]
    unequal: tuple[tuple[str, str], ...] = ()
    constants: dict[str, str] = field(default_factory=dict)
    slots: tuple[str, ...] = ()

    def render(self, slots: dict[str, str]) -> str:
        """Fill the placeholders. Raises KitError when a slot has no value."""
        values = {**self.constants, **slots}
        missing = [name for name in self.slots if name not in values]
        if missing:
            raise KitError(
                f"the prompt needs a value for slot {missing[0]!r}; add it to the answer's slots or the template"
            )
        return self.text.format(**values)


def load_template(
    category: str, variant: str = "released", folder: str | Path | None = None, stage: str = "instance"
) -> Template:
    """Load the template of a category (``stage="brainstorm"``: the prompt that asks for tasks).

    ``folder`` replaces the kit's templates by files of the same names, such as the released generator's.
    Raises KitError for an unknown category or variant and for a file that is not a valid template.
    """
    if category not in KEYS or (stage == "brainstorm" and category not in BRAINSTORMED):
        raise KitError(
            f"no {stage} template for category {category!r}; there is one for "
            + ", ".join(BRAINSTORMED if stage == "brainstorm" else CODES)
        )
    if variant not in VARIANTS:
        raise KitError(f"unknown template variant {variant!r}; choose one of {', '.join(VARIANTS)}")
    name = category if stage == "instance" else f"brainstorm_{category}"
    return read_template(Path(folder or FOLDER) / f"{name}.json", variant)


def read_template(path: str | Path, variant: str = "released") -> Template:
    """Read one template file in the released form or ours. Raises KitError naming the file and what is wrong."""
    path = Path(path)
    raw = read_json(path)
    if not isinstance(raw, dict) or not isinstance(raw.get("prompt_template"), str):
        raise KitError(f"{path} has no text under 'prompt_template'; it must be a template in the released form")
    change = (raw.get("variants") or {}).get(variant, {})
    args = {**(raw.get("args") or {}), **change.get("args", {})}
    weights = {name: p for name, p in (raw.get("args_p") or {}).items() if name not in change.get("args", {})}
    weights |= change.get("args_p", {})
    if not isinstance(args.get("task"), list):
        args.pop("task", None)  # the released files name the file of brainstormed tasks here; ours are passed in
    values, probabilities = {}, {}
    for name, given in args.items():
        if isinstance(given, str):
            listed = read_json(path.parent / given)
            given, weights[name] = listed["values"], listed["weights"]
        values[name] = tuple(str(value) for value in given)
        probabilities[name] = _weights(path, name, values[name], weights.get(name))
    constants = {**raw.get("constants", {}), **change.get("constants", {})}
    return Template(
        raw["prompt_template"],
        values,
        probabilities,
        _unequal(path, raw.get("constraints") or [], values),
        constants,
        _placeholders(path, raw["prompt_template"], {"task", *values, *constants}),
    )


def _weights(path: Path, name: str, values: tuple[str, ...], given: Any) -> tuple[float, ...]:
    if not values:
        raise KitError(f"{path}: slot {name!r} has no values; list at least one")
    if given is None:
        return (1 / len(values),) * len(values)
    if len(given) != len(values) or min(given) < 0 or abs(sum(given) - 1) > 1e-6:
        raise KitError(f"{path}: the probabilities of slot {name!r} must be {len(values)} numbers that sum to 1")
    return tuple(float(p) for p in given)


def _unequal(path: Path, constraints: list, values: dict) -> tuple[tuple[str, str], ...]:
    pairs = []
    for rule in constraints:
        pair = (rule.get("value1"), rule.get("value2"))
        if rule.get("type") != "neq" or not all(name in values for name in pair):
            raise KitError(f"{path}: constraint {json.dumps(rule)} is not known; only 'neq' between two slots is")
        if all(len(set(values[name])) == 1 for name in pair) and set(values[pair[0]]) == set(values[pair[1]]):
            raise KitError(
                f"{path}: slots {pair[0]!r} and {pair[1]!r} must differ, but both have one and the same value"
            )
        pairs.append(pair)
    return tuple(pairs)


def _placeholders(path: Path, text: str, known: set[str]) -> tuple[str, ...]:
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise KitError(
            f"{path}: the braces of 'prompt_template' do not match ({error}); write {{{{ for a brace"
        ) from None
    unknown = [name for name in names if name not in known]  # also refuses {task.attribute} and {task[0]}
    if unknown:
        raise KitError(f"{path}: placeholder {{{unknown[0]}}} has no values under 'args'; add them")
    return tuple(dict.fromkeys(names))


def sample_slots(
    template: Template,
    n: int,
    seed: int,
    category: str,
    tasks: list[str] | None = None,
    start: int = 0,
    by_index: bool = False,
) -> list[dict[str, str]]:
    """Return the slots of rows ``start`` to ``start + n - 1``.

    Row i depends on (seed, category, i, template, tasks) alone: it reads its own place in a counter-based
    stream, so it is the same whatever n is and however rows are split between workers. A row that breaks a
    constraint is drawn again, whole, from the next stream, which leaves all other rows as they were; this is
    the rejection the released code does. ``by_index`` compares positions in the value list and not the values
    themselves, as the released code does, and lets a language through that the list holds twice.
    Raises KitError when the template has a task slot and there are no tasks.
    """
    values = dict(template.args)
    weights = dict(template.weights)
    if tasks is not None:
        values = {"task": tuple(tasks), **{k: v for k, v in values.items() if k != "task"}}
    if "task" in template.slots and not values.get("task"):
        raise KitError(f"there is no task for category {category!r}; brainstorm first")
    weights["task"] = _weights(Path("tasks"), "task", values["task"], None) if "task" in values else ()
    names = list(values)
    chosen = _draw(template, values, weights, n, seed, category, start, by_index)
    columns = [[values[name][j] for j in chosen[k]] for k, name in enumerate(names)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _draw(
    template: Template, values: dict, weights: dict, n: int, seed: int, category: str, start: int, by_index: bool
) -> np.ndarray:
    """Return (slots, n) indices into the value lists."""
    names = list(values)
    edges = [np.cumsum(weights[name])[:-1] for name in names]
    clashes = [
        (names.index(one), names.index(two), _clash(values[one], values[two], by_index))
        for one, two in template.unequal
    ]
    chosen = np.zeros((len(names), n), dtype=np.int64)
    wrong = np.ones(n, dtype=bool)
    for attempt in range(1000):
        uniform = _uniform(seed, category, attempt, start, n, len(names))
        for k in range(len(names)):
            chosen[k, wrong] = np.searchsorted(edges[k], uniform[wrong, k], side="right")
        wrong = np.zeros(n, dtype=bool)
        for one, two, table in clashes:
            wrong |= table[chosen[one], chosen[two]]
        if not wrong.any():
            return chosen
    raise KitError(f"category {category!r}: no slots that keep the constraints in 1,000 tries; widen the values")


def _clash(one: tuple[str, ...], two: tuple[str, ...], by_index: bool) -> np.ndarray:
    """Return the table of index pairs that a 'neq' constraint forbids."""
    if by_index:
        return np.arange(len(one))[:, None] == np.arange(len(two))[None, :]
    return np.array(one)[:, None] == np.array(two)[None, :]


def _uniform(seed: int, category: str, attempt: int, start: int, n: int, slots: int) -> np.ndarray:
    """Return (n, slots) uniforms; row i occupies its own blocks of the stream of (seed, category, attempt)."""
    blocks = -(-slots // 4)  # Philox counts in blocks of four 64-bit numbers
    name = int.from_bytes(hashlib.sha256(category.encode()).digest()[:8], "little")
    key = np.random.SeedSequence([seed, name, attempt]).generate_state(2, np.uint64)
    stream = np.random.Philox(key=key)
    stream.advance(start * blocks)
    return np.random.Generator(stream).random((n, 4 * blocks))


def item_seed(seed: int, category: str, stage: str, index: int) -> int:
    """Return the generator's own seed for one item, below 2^31 (what servers accept), from (seed, item) alone."""
    text = f"{seed}/{category}/{stage}/{index}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") >> 1


def instruction(category: str, slots: dict[str, str]) -> str:
    """Return the instruction of a triplet: the task for the four brainstormed categories, else a fixed sentence."""
    return FIXED_INSTRUCTION.get(category) or slots.get("task", "")


def answer_schema(category: str, max_chars: int = 0) -> dict:
    """Return the JSON schema of a category's answer; ``max_chars`` > 0 bounds every text (and asks for one)."""
    text: dict[str, Any] = {"type": "string"}
    if max_chars:
        text |= {"minLength": 1, "maxLength": max_chars}
    keys = KEYS[category]
    return {
        "type": "object",
        "properties": {key: dict(text) for key in keys},
        "required": list(keys),
        "additionalProperties": False,
    }
