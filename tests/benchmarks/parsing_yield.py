"""How many dirty answers does each way of parsing get right, and how many does it get wrong without noticing?

    python tests/benchmarks/parsing_yield.py [--n 6000] [--json FILE]

Two sets. *Dirty*: complete answers with fences, chatter, other quotes, trailing or missing commas, raw line breaks,
unescaped quotes, nesting (tests/kits/dirty.py); every text can be read by a person, so the share that is exact is the
yield.
*Cut*: the same answers broken off at a random place inside the object, one in ten with a blank text instead; nothing
of these should be accepted. ``wrong`` counts triplets that were accepted and differ from what was written.

Compared: ours; the strategies documented for the released generator, written anew here;
``json.loads`` of the whole answer, which is what distilabel's structured triplet tasks do with a free-form answer (they
rely on structured generation); and json-repair, a kept library that always returns something.
"""

import argparse
import json
import random
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kits"))

import dirty

from lib.generate.parsing import Parsed, parse_response
from lib.generate.prompts import KEYS


def ours(category, text):
    """lib.generate.parsing."""
    got = parse_response(category, text)
    return (got.query, got.positive, got.negative) if isinstance(got, Parsed) else None


def released(category, text):
    """Fences first, then each shortest {...}; once more without trailing commas; at last pairs of quoted strings.

    A TypeError (a list where an object was expected) ends the whole run there; here it costs one answer.
    """
    for attempt in (text, re.sub(r",(\s*[}\]])", r"\1", text)):
        pieces = [
            *re.findall(r"```\n?(.*?)```", attempt, re.S),
            *re.findall(r"```json(.*?)```", attempt, re.S),
            *re.findall(r"```python(.*?)```", attempt, re.S),
            *re.findall(r"\{.*?\}", attempt, re.S),
        ]
        for piece in pieces:
            try:
                return picked(category, json.loads(piece))
            except (ValueError, KeyError, TypeError):
                continue
    strings = re.findall(r'(?<!\\)"((?:[^"\\]|\\.)*)"', text, re.S)
    if len(strings) % 2 == 0:
        try:
            return picked(category, dict(zip(strings[::2], strings[1::2], strict=True)))
        except (KeyError, TypeError):
            return None
    return None


def whole_answer(category, text):
    """json.loads of the whole answer."""
    try:
        return picked(category, json.loads(text))
    except (ValueError, KeyError, TypeError):
        return None


def repair_library(category, text):
    """json_repair.loads of the whole answer."""
    import json_repair

    try:
        return picked(category, json_repair.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def picked(category, value):
    """Return the texts under the category's keys; KeyError or TypeError when they are not there or not texts."""
    texts = tuple(value[key] for key in KEYS[category])
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    return (*texts, "")[:3]


def cut(rows, seed):
    """Return the answers, broken off inside their object, or (one in ten) with one text blank."""
    rng = random.Random(seed)
    for category, texts, way, _ in rows:
        style, shape, _ = way.split("/")
        if rng.random() < 0.1:
            blank = {**texts, rng.choice(list(texts)): rng.choice(("", " ", "\n"))}
            yield category, dirty.dirty(blank, rng, style, "plain", shape)[1]
        else:
            answer = dirty.dirty(texts, rng, style, rng.choice(("plain", "fence_json")), shape)[1]
            yield category, answer[: rng.randint(answer.index("{") + 1, answer.rindex("}"))]


def measure(parsers, rows, spoilt):
    """Return one row of numbers per parser."""
    table = []
    for name, parse in parsers.items():
        start = time.process_time()
        got = [parse(category, answer) for category, _, _, answer in rows]
        seconds = time.process_time() - start
        want = [(*texts.values(), "")[:3] for _, texts, _, _ in rows]
        by_style = {}
        for (_, _, way, _), one, right in zip(rows, got, want, strict=True):
            hit = by_style.setdefault(way.split("/")[0], [0, 0])
            hit[0] += one == right
            hit[1] += 1
        table.append(
            {
                "parser": name,
                "yield": sum(a == b for a, b in zip(got, want, strict=True)) / len(rows),
                "wrong": sum(a is not None and a != b for a, b in zip(got, want, strict=True)) / len(rows),
                "accepted_cut_or_blank": sum(parse(*row) is not None for row in spoilt) / len(spoilt),
                "microseconds": 1e6 * seconds / len(rows),
                "by_style": {k: a / b for k, (a, b) in sorted(by_style.items())},
            }
        )
    return table


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--n", type=int, default=6000)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--json", default="")
    given = arguments.parse_args()
    rows = dirty.sample(given.n, given.seed)
    parsers = {"ours": ours, "released generator's strategies": released, "json.loads (distilabel)": whole_answer}
    try:
        import json_repair  # noqa: F401

        parsers["json-repair"] = repair_library
    except ImportError:
        print("json-repair is not installed; left out")
    table = measure(parsers, rows, list(cut(rows, given.seed + 1)))
    print(f"{given.n} answers, {len({way for _, _, way, _ in rows})} ways of being dirty")
    print(f"{'parser':34}{'yield':>8}{'wrong':>8}{'cut or blank accepted':>24}{'µs/answer':>11}")
    for row in table:
        print(
            f"{row['parser']:34}{row['yield']:8.1%}{row['wrong']:8.1%}{row['accepted_cut_or_blank']:24.1%}{row['microseconds']:11.0f}"
        )
    print("\nyield by style")
    for style in table[0]["by_style"]:
        print(f"{style:20}" + "".join(f"{row['by_style'][style]:12.1%}" for row in table))
    if given.json:
        Path(given.json).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
