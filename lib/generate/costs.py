"""Costs: what was asked, what came of it, and what a thousand valid triplets cost, per category and generator.

``generation.json`` holds counts, tokens and rejections: the same however often the run was interrupted. Seconds
are measured and lie apart, in ``timing/``. Money is tokens times price, or GPU-seconds times price, or both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib.common.design import LABELS
from lib.common.files import read_json, read_jsonl, write_json

if TYPE_CHECKING:
    import pandas as pd

    from lib.params.params import GenerationParams, Params


REPORT = "generation.json"


def money(generation: GenerationParams | Mapping, tokens_in: int, tokens_out: int, seconds: float) -> float | None:
    """Return the cost in ``generation.currency``, or None when no price is set."""
    prices = generation if isinstance(generation, Mapping) else generation.model_dump()
    gpu_price = prices["gpu_price"] * prices["gpus"]
    if not (prices["price_in"] or prices["price_out"] or gpu_price):
        return None
    return (tokens_in * prices["price_in"] + tokens_out * prices["price_out"]) / 1e6 + gpu_price * seconds / 3600


def write_report(params: Params, counts: Mapping[str, Mapping], out_dir: str | Path | None = None) -> Path:
    """Write ``out_dir/generation.json`` and return its path.

    ``counts``: {category: {"asked", "parsed", "rejected": {reason: n}, "cleaned": {reason: n}, "duplicates",
    "valid"}}. Tokens are added from the answers' files, brainstorms included.
    """
    out, generation = Path(out_dir or params.data_dir), params.generation
    rows = {}
    for category, numbers in counts.items():
        rows[category] = {**numbers, **_tokens(out, category)}
        for key in ("rejected", "cleaned"):
            rows[category][key] = dict(sorted(numbers.get(key, {}).items()))
    report = {
        "generator": generation.writer,
        "backend": generation.backend,
        "variant": generation.variant,
        "seed": generation.seed,
        "prices": {name: getattr(generation, name) for name in "price_in price_out gpu_price gpus currency".split()},
        "categories": rows,
    }
    return write_json(out / REPORT, report)


def _tokens(out: Path, category: str) -> dict[str, int | None]:
    """Sum the tokens of a category's answers and brainstorms; None where any of them is unknown."""
    paths = [out / folder / f"{category}.jsonl" for folder in ("responses", "brainstorm")]
    rows = [row for path in paths if path.exists() for row in read_jsonl(path)]
    totals = {}
    for name in ("tokens_in", "tokens_out"):
        values = [row.get(name) for row in rows]
        totals[name] = None if None in values else sum(values)
    return totals


def cost_table(out_dirs: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """Return one row per generator and category, of one run's data folder or of several side by side.

    Columns: generator, category, asked, parsed, rejected (all reasons together), cleaned, duplicates, valid,
    yield (valid per asked), tokens_in, tokens_out, seconds, cost, cost_per_1000 (of valid triplets), currency.
    What was not measured, such as the tokens of bundled answers or a cost without a price, is empty.
    """
    import pandas as pd

    rows = []
    for out in [Path(out_dirs)] if isinstance(out_dirs, str | Path) else map(Path, out_dirs):
        report = read_json(out / REPORT)
        for category, numbers in report["categories"].items():
            valid, seconds = numbers["valid"], _seconds(out, category)
            measured = (numbers["tokens_in"], numbers["tokens_out"], seconds)
            cost = None if None in measured else money(report["prices"], *measured)
            rows.append(
                {
                    "generator": report["generator"],
                    "category": LABELS[category],
                    "asked": numbers["asked"],
                    "parsed": numbers["parsed"],
                    "rejected": sum(numbers["rejected"].values()),
                    "cleaned": sum(numbers["cleaned"].values()),
                    "duplicates": numbers["duplicates"],
                    "valid": valid,
                    "yield": valid / numbers["asked"] if numbers["asked"] else None,
                    "tokens_in": numbers["tokens_in"],
                    "tokens_out": numbers["tokens_out"],
                    "seconds": seconds,
                    "cost": cost,
                    "cost_per_1000": 1000 * cost / valid if cost is not None and valid else None,
                    "currency": report["prices"]["currency"],
                }
            )
    return pd.DataFrame(rows)


def _seconds(out: Path, category: str) -> float | None:
    """Return the seconds a category took, brainstorm included, or None when its timing is gone."""
    paths = [out / "timing" / f"{category}.json", out / "timing" / f"brainstorm_{category}.json"]
    return sum(read_json(path)["seconds"] for path in paths if path.exists()) if paths[0].exists() else None
