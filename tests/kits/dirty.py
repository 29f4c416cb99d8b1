"""Answers as LLMs write them: the same three texts, wrapped and mangled in the ways seen in practice.

``dirty(texts, rng)`` returns (name of the way, the answer). Every answer holds the texts in full, so a parser
that loses one loses something a person would read without effort.
"""

import json
import random

BEFORE = (
    "Here is the JSON object you asked for:",
    "Sure! Below is one example.",
    "Certainly, here you go {hope it helps}:",
    "I'd use these keys: input, label.\n",
    '<think>The user wants {"a": 1}, so I write one.</think>',
)
AFTER = (
    "Let me know if you need another one!",
    'Note: I kept the overlap low (see "S1").',
    "Hope that's fine :-}",
    "The label {was} chosen with care.",
)
STYLES = (
    "json",
    "pretty",
    "single",
    "single_raw",
    "smart",
    "missing_comma",
    "raw_lines",
    "raw_control",
    "inner_quotes",
)
AROUND = ("plain", "fence", "fence_json", "fence_python", "before", "after", "both", "before_fence_after")
SHAPES = ("flat", "trailing_comma", "outer", "extra_object", "list", "wrapped_text")


def dirty(
    texts: dict[str, str], rng: random.Random, style: str = "", around: str = "", shape: str = ""
) -> tuple[str, str]:
    """Return (style/shape/around, the answer). Ways that are not named are drawn."""
    style, shape, around = style or rng.choice(STYLES), shape or rng.choice(SHAPES), around or rng.choice(AROUND)
    if style in ("json", "pretty"):  # these two are plain JSON where shape and surroundings are plain
        shape = shape if shape != "trailing_comma" or rng.random() < 0.5 else "flat"
    return f"{style}/{shape}/{around}", surrounded(shaped(texts, style, shape), around, rng)


def shaped(texts: dict[str, str], style: str, shape: str) -> str:
    """Write the object with its own shape: flat, inside another, with another inside, in a list."""
    if shape == "wrapped_text":
        first = next(iter(texts))
        inner = written({"text": texts[first]}, style)
        rest = {key: value for key, value in texts.items() if key != first}
        body = written(rest, style)
        return "{" + quoted(first, style) + ": " + inner + ", " + body[1:]
    body = written(texts, style)
    if shape == "trailing_comma":
        return body[:-1].rstrip() + ",\n}"
    if shape == "outer":
        return "{" + quoted("answer", style) + ": " + body + "}"
    if shape == "extra_object":
        return (
            body[:-1].rstrip()
            + ", "
            + quoted("notes", style)
            + ": "
            + written({"words": "low", "tone": "plain"}, style)
            + "}"
        )
    return f"[{body}]" if shape == "list" else body


def written(texts: dict[str, str], style: str) -> str:
    """Write key: text entries in one style of quoting and white space."""
    gap = "\n    " if style in ("pretty", "raw_lines", "missing_comma") else " "
    entries = [
        quoted(key, "json" if style == "inner_quotes" else style) + ": " + quoted(value, style)
        for key, value in texts.items()
    ]
    return (
        "{"
        + gap.lstrip(" ")
        + ("," if style != "missing_comma" else "").join((entries[0], *(gap + e for e in entries[1:])))
        + gap.strip(" ")
        + "}"
    )


def quoted(text: str, style: str) -> str:
    """Quote one text."""
    standard = json.dumps(text, ensure_ascii=False)
    if style == "single":
        return repr(text) if not text.startswith('"') else "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if style == "single_raw":  # apostrophes are left as they are, which is what LLMs do
        return "'" + standard[1:-1].replace('\\"', '"') + "'"
    if style == "smart":
        return "“" + standard[1:-1] + "”"
    if style in ("raw_lines", "raw_control"):
        return standard.replace("\\n", "\n").replace("\\t", "\t").replace("\\u0007", "\x07")
    if style == "inner_quotes":
        return '"' + standard[1:-1].replace('\\"', '"') + '"'
    return standard


def surrounded(body: str, around: str, rng: random.Random) -> str:
    """Put fences and chatter around the object."""
    fence = {
        "fence": "```\n",
        "fence_json": "```json\n",
        "fence_python": "```python\n",
        "before_fence_after": "```json\n",
    }.get(around)
    if fence:
        body = fence + body + "\n```"
    if around in ("before", "both", "before_fence_after"):
        body = rng.choice(BEFORE) + "\n" + body
    if around in ("after", "both", "before_fence_after"):
        body += "\n\n" + rng.choice(AFTER)
    return body


def sample(n: int, seed: int = 0) -> list[tuple[str, dict[str, str], str, str]]:
    """Return n rows (category, texts, way, answer) from the bundled answers, seeded; some texts get raw newlines,
    quoted speech or a bell character, as the style needs."""
    from lib.generate.answers import responses
    from lib.generate.parsing import parse_response
    from lib.generate.prompts import KEYS

    rng = random.Random(seed)
    pool = {category: responses(category) for category in KEYS}
    rows = []
    for _ in range(n):
        category = rng.choice(list(KEYS))
        parsed = parse_response(category, rng.choice(pool[category])["response"])
        values = (parsed.query, parsed.positive, parsed.negative)
        texts = dict(zip(KEYS[category], values, strict=False))
        style = rng.choice(STYLES)
        if style in ("raw_lines", "raw_control", "inner_quotes"):
            key = rng.choice(list(texts))
            words = texts[key].split(" ")
            middle = len(words) // 2
            joint = {"raw_lines": "\n", "raw_control": "\x07\t", "inner_quotes": ' "as they say" '}[style]
            texts[key] = " ".join(words[:middle]) + joint + " ".join(words[middle:])
        way, answer = dirty(texts, rng, style)
        rows.append((category, texts, way, answer))
    return rows
