"""Prompts: the templates of the six categories and a slot sampler that gives row i the same slots always.

A template is a JSON file in lib/data/templates, in the form of the released generator: ``prompt_template``
(``str.format`` placeholders), ``args`` (values per slot), ``args_p`` (their probabilities; uniform when missing) and
``constraints``. Added: a string in place of a list names a file beside the template, ``constants`` fill placeholders
that are not drawn, ``variants`` hold what Wang et al. and the classroom do differently (paper, appendix B).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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

    ``examples``: (prompt, answer); ``lengths``: (shortest, longest) text per key, in characters. A longest of 0 leaves
    the end to the token limit: xgrammar, which holds vLLM to the schema, is slow where it counts beyond 128 and 255.
    """

    text: str
    args: dict[str, tuple[str, ...]]
    weights: dict[str, tuple[float, ...]]
    unequal: tuple[tuple[str, str], ...] = ()
    constants: dict[str, str] = field(default_factory=dict)
    examples: tuple[tuple[str, str], ...] = ()
    lengths: dict[str, tuple[int, int]] = field(default_factory=dict)

    def shown(self, index: int) -> tuple[tuple[str, str], ...]:
        """Return the worked examples that row ``index`` is shown: two neighbours, the next row's begin one further."""
        count = len(self.examples)
        return tuple(self.examples[(index + k) % count] for k in range(min(SHOWN, count)))

    def render(self, slots: dict[str, str]) -> str:
        """Fill the placeholders."""
        return self.text.format(**{**self.constants, **slots})


def load_template(category: str, variant: str = "released", stage: str = "instance") -> Template:
    """Load the template of a category (``stage="brainstorm"``: the prompt that asks for tasks).

    Raises KitError for an unknown category or variant.
    """
    if category not in KEYS or (stage == "brainstorm" and category not in BRAINSTORMED):
        known = ", ".join(BRAINSTORMED if stage == "brainstorm" else CODES)
        raise KitError(f"no {stage} template for category {category!r}; there is one for {known}")
    if variant not in VARIANTS:
        raise KitError(f"unknown template variant {variant!r}; choose one of {', '.join(VARIANTS)}")
    raw = read_json(FOLDER / f"{'brainstorm_' if stage == 'brainstorm' else ''}{category}.json")
    change = raw.get("variants", {}).get(variant, {})
    weights = {name: p for name, p in raw.get("args_p", {}).items() if name not in change.get("args", {})}
    weights |= change.get("args_p", {})
    values = {}
    for name, given in {**raw.get("args", {}), **change.get("args", {})}.items():
        if isinstance(given, str):
            listed = read_json(FOLDER / given)
            given, weights[name] = listed["values"], listed["weights"]
        values[name] = tuple(str(value) for value in given)
        weights[name] = tuple(weights.get(name) or (1 / len(given),) * len(given))
    bare = Template(
        text=change.get("prompt_template", raw["prompt_template"]),
        args=values,
        weights=weights,
        unequal=tuple((rule["value1"], rule["value2"]) for rule in raw.get("constraints", [])),
        constants={**raw.get("constants", {}), **change.get("constants", {})},
        lengths={key: tuple(both) for key, both in change.get("lengths", {}).items()},
    )
    worked = change.get("examples", [])
    examples = ((bare.render(one["slots"]), json.dumps(one["answer"], ensure_ascii=False)) for one in worked)
    return replace(bare, examples=tuple(examples))


def sample_slots(
    template: Template, n: int, seed: int, category: str, tasks: list[str] | None = None, start: int = 0
) -> list[dict[str, str]]:
    """Return the slots of rows ``start`` to ``start + n - 1``.

    Row i depends on (seed, category, i, template, tasks) alone: it reads its own place in a counter-based stream, so it
    is the same whatever n is. A row that breaks a constraint is drawn again, whole, from the next stream.
    """
    values, weights = template.args, template.weights
    if tasks:
        values = {"task": tuple(tasks), **values}
        weights = {"task": (1 / len(tasks),) * len(tasks), **weights}
    elif "{task}" in template.text:
        raise KitError(f"there is no task for category {category!r}; brainstorm first")
    names, blocks = list(values), -(-len(values) // 4)  # Philox counts in blocks of four 64-bit numbers
    stream = int.from_bytes(hashlib.sha256(category.encode()).digest()[:8], "little")
    edges = [np.cumsum(weights[name])[:-1] for name in names]
    compared = {name: np.array(given) for name, given in values.items()}
    chosen = {name: np.zeros(n, np.int64) for name in names}  # places in the value lists
    wrong = np.ones(n, bool)
    for attempt in range(1000):
        bits = np.random.Philox(key=np.random.SeedSequence([seed, stream, attempt]).generate_state(2, np.uint64))
        uniform = np.random.Generator(bits.advance(start * blocks)).random((n, 4 * blocks))
        for k, name in enumerate(names):
            chosen[name][wrong] = np.searchsorted(edges[k], uniform[wrong, k], side="right")
        wrong = np.zeros(n, bool)
        for one, two in template.unequal:
            wrong |= compared[one][chosen[one]] == compared[two][chosen[two]]
        if not wrong.any():
            rows = zip(*([values[name][j] for j in chosen[name]] for name in names), strict=True)
            return [dict(zip(names, row, strict=True)) for row in rows]
    raise KitError(f"category {category!r}: no slots that keep the constraints in 1,000 tries; widen the values")


def item_seed(seed: int, category: str, stage: str, index: int) -> int:
    """Return the generator's own seed for one item, below 2^31 (what servers accept), from (seed, item) alone."""
    name = f"{seed}/{category}/{stage}/{index}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:4], "little") >> 1


def answer_schema(category: str, max_chars: int = 0, lengths: Mapping[str, tuple[int, int]] | None = None) -> dict:
    """Return the JSON schema of a category's answer.

    ``max_chars`` > 0 bounds every text (and asks for one); ``lengths`` are the template's, and bound the others.
    """
    bounds = {key: (1, max_chars) for key in KEYS[category]} if max_chars else dict(lengths or {})
    properties: dict[str, dict[str, Any]] = {key: {"type": "string"} for key in KEYS[category]}
    for key, (shortest, longest) in bounds.items():
        properties[key] |= {"minLength": shortest} | ({"maxLength": longest} if longest else {})
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
