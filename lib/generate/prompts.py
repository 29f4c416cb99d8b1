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
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.common.bundled import DATA
from lib.common.design import CODES
from lib.common.files import KitError, read_json

FOLDER = DATA / "templates"
VARIANTS = ("released", "wang2024", "classroom", "small")
BRAINSTORMED = ("short_short", "short_long", "long_short", "long_long")
KEYS = {
    "short_short": ("input", "positive_document"),
    "short_long": ("user_query", "positive_document", "hard_negative_document"),
    "long_short": ("input_text", "label", "misleading_label"),
    "long_long": ("input", "positive_document"),
    "sts": ("S1", "S2", "S3"),
    "bitext": ("S1", "S2", "S3"),
}
SHOWN = 2  # worked examples in a conversation
FIXED_INSTRUCTION = {"sts": "Retrieve semantically similar text.", "bitext": "Retrieve parallel sentences."}


@dataclass(frozen=True)
class Template:
    """One prompt template: its text, the values of each slot, their probabilities, and pairs that must differ.

    ``examples``: (prompt, answer) of worked examples; ``lengths``: (shortest, longest) text per key, in characters.
    A longest of 0 leaves the end to the token limit: xgrammar, which holds vLLM to the schema, takes 0.02 ms a token
    where it counts to a shortest of at most 128 and a longest of at most 255, and about 20 ms beyond.
    """

    text: str
    args: dict[str, tuple[str, ...]]
    weights: dict[str, tuple[float, ...]]
    unequal: tuple[tuple[str, str], ...] = ()
    constants: dict[str, str] = field(default_factory=dict)
    slots: tuple[str, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    lengths: dict[str, tuple[int, int]] = field(default_factory=dict)

    def shown(self, index: int) -> tuple[tuple[str, str], ...]:
        """Return the worked examples that row ``index`` is shown: two neighbours, the next row's begin one further.

        Few sets of them, so that a server that keeps what prompts have in common reads each of them once.
        """
        count = len(self.examples)
        return tuple(self.examples[(index + k) % count] for k in range(min(SHOWN, count)))

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
    Raises KitError for an unknown category or variant, and naming the file for one that is not a valid template.
    """
    if category not in KEYS or (stage == "brainstorm" and category not in BRAINSTORMED):
        known = ", ".join(BRAINSTORMED if stage == "brainstorm" else CODES)
        raise KitError(f"no {stage} template for category {category!r}; there is one for {known}")
    if variant not in VARIANTS:
        raise KitError(f"unknown template variant {variant!r}; choose one of {', '.join(VARIANTS)}")
    path = Path(folder or FOLDER) / f"{category if stage == 'instance' else f'brainstorm_{category}'}.json"
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
    unequal = tuple(_unequal(path, rule, values) for rule in raw.get("constraints") or [])
    text = change.get("prompt_template", raw["prompt_template"])
    slots = _placeholders(path, text, {"task", *values, *constants})
    lengths = {key: tuple(both) for key, both in change.get("lengths", {}).items()}
    bare = Template(text, values, probabilities, unequal, constants, slots, (), lengths)
    worked = change.get("examples", [])
    examples = ((bare.render(one["slots"]), json.dumps(one["answer"], ensure_ascii=False)) for one in worked)
    return replace(bare, examples=tuple(examples))


def _weights(path: Path, name: str, values: tuple[str, ...], given: Any) -> tuple[float, ...]:
    if not values:
        raise KitError(f"{path}: slot {name!r} has no values; list at least one")
    if given is None:
        return (1 / len(values),) * len(values)
    if len(given) != len(values) or min(given) < 0 or abs(sum(given) - 1) > 1e-6:
        raise KitError(f"{path}: the probabilities of slot {name!r} must be {len(values)} numbers that sum to 1")
    return tuple(float(p) for p in given)


def _unequal(path: Path, rule: dict, values: dict) -> tuple[str, str]:
    """Return the two slots that a constraint wants to differ."""
    one, two = rule.get("value1"), rule.get("value2")
    if rule.get("type") != "neq" or one not in values or two not in values:
        raise KitError(f"{path}: constraint {json.dumps(rule)} is not known; only 'neq' between two slots is")
    if len({*values[one], *values[two]}) == 1:
        raise KitError(f"{path}: slots {one!r} and {two!r} must differ, but both have one and the same value")
    return one, two


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
    values, weights = dict(template.args), dict(template.weights)
    if tasks is not None:
        values = {"task": tuple(tasks)} | {name: given for name, given in values.items() if name != "task"}
    if "task" in template.slots and not values.get("task"):
        raise KitError(f"there is no task for category {category!r}; brainstorm first")
    if "task" in values:
        weights["task"] = _weights(Path("tasks"), "task", values["task"], None)
    names = list(values)
    edges = [np.cumsum(weights[name])[:-1] for name in names]
    compared = {name: np.arange(len(given)) if by_index else np.array(given) for name, given in values.items()}
    chosen = {name: np.zeros(n, np.int64) for name in names}  # places in the value lists
    wrong = np.ones(n, bool)
    for attempt in range(1000):
        uniform = _uniform(seed, category, attempt, start, n, len(names))
        for k, name in enumerate(names):
            chosen[name][wrong] = np.searchsorted(edges[k], uniform[wrong, k], side="right")
        wrong = np.zeros(n, bool)
        for one, two in template.unequal:
            wrong |= compared[one][chosen[one]] == compared[two][chosen[two]]
        if not wrong.any():
            rows = zip(*([values[name][j] for j in chosen[name]] for name in names), strict=True)
            return [dict(zip(names, row, strict=True)) for row in rows]
    raise KitError(f"category {category!r}: no slots that keep the constraints in 1,000 tries; widen the values")


def _uniform(seed: int, category: str, attempt: int, start: int, n: int, slots: int) -> np.ndarray:
    """Return (n, slots) uniforms; row i occupies its own blocks of the stream of (seed, category, attempt)."""
    blocks = -(-slots // 4)  # Philox counts in blocks of four 64-bit numbers
    name = int.from_bytes(hashlib.sha256(category.encode()).digest()[:8], "little")
    stream = np.random.Philox(key=np.random.SeedSequence([seed, name, attempt]).generate_state(2, np.uint64))
    stream.advance(start * blocks)
    return np.random.Generator(stream).random((n, 4 * blocks))


def item_seed(seed: int, category: str, stage: str, index: int) -> int:
    """Return the generator's own seed for one item, below 2^31 (what servers accept), from (seed, item) alone."""
    text = f"{seed}/{category}/{stage}/{index}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") >> 1


def answer_schema(category: str, max_chars: int = 0, lengths: Mapping[str, tuple[int, int]] | None = None) -> dict:
    """Return the JSON schema of a category's answer.

    ``max_chars`` > 0 bounds every text (and asks for one); ``lengths`` are the template's, and bound the others.
    """
    bounds = {key: (1, max_chars) for key in KEYS[category]} if max_chars else dict(lengths or {})
    properties: dict[str, dict[str, Any]] = {key: {"type": "string"} for key in KEYS[category]}
    for key, (shortest, longest) in bounds.items():
        properties[key] |= {"minLength": shortest} | ({"maxLength": longest} if longest else {})
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
