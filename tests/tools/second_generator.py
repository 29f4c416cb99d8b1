"""Let the small generator write: `make bundle` after `make generator` (an environment with vLLM; resumable).

Writes ``lib/data/generators/smollm2-135m``: its raw answers to the tasks and slots of the classroom's answers, row by
row, good or bad as they came; ``made.json`` (parameters, tokens, seconds) and ``yield.csv``, what is left of them after
parsing and cleaning, with what the classroom's own prompts yield from the same model for comparison.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))

from lib.common.bundled import DATA, ROOT
from lib.common.design import CATEGORIES, LABELS
from lib.common.files import read_json, read_jsonl, write_json, write_jsonl, write_text
from lib.generate.answers import responses
from lib.generate.generate import generate
from lib.generate.llms import close_backends, open_backend
from lib.generate.overlap import suite_texts
from lib.inspect.inspect import funnel
from lib.params.params import Params, load

BUNDLE = DATA / "generators" / "smollm2-135m"
ORDER = ("short_long", "short_short", "long_short", "long_long")
GENERATION = {
    "backend": "vllm",
    "model": "models/smollm2-135m-instruct",
    "max_model_len": 2048,
    "dtype": "bfloat16",
    "temperature": 0.7,
    "max_tokens": 400,
    "brainstorms": 6,
}
VARIANTS = {"classroom": {}, "small": {"frequency_penalty": 0.2}}  # the prompts as they are; the small model's
ROW = ("slots", "response", "finish", "tokens_in", "tokens_out")


def ask(variant: str, category: str, n: int, out: Path) -> None:
    """Have ``n`` answers of a category written below ``out/<variant>``; those that are there are not asked again."""
    generate(settings(variant), category, n, out / variant)


def settings(variant: str) -> Params:
    """The classroom's parameters with the small generator, asked with the prompts of ``variant``."""
    given = {**GENERATION, "variant": variant, **VARIANTS[variant]}
    return load("classroom", {f"generation.{name}": value for name, value in given.items()})


def table(out: Path) -> pd.DataFrame:
    """One row per variant and category: what was asked, what was left and why the rest was not, tokens, seconds."""
    rows = []
    for variant in VARIANTS:
        if not (out / variant / "responses").is_dir():
            continue
        stages, rejected, _ = funnel({variant: out / variant}, settings(variant), suite_texts())
        for stage in stages.itertuples():
            category = next(name for name in CATEGORIES if LABELS[name] == stage.category)
            answers = read_jsonl(out / variant / "responses" / f"{category}.jsonl")
            seconds = read_json(out / variant / "timing" / f"{category}.json")["seconds"]
            written = sum(row["tokens_out"] for row in answers)
            reasons = rejected.loc[rejected["category"] == stage.category, "reason"].value_counts()
            rows.append(
                {
                    "prompts": variant,
                    "category": category,
                    "asked": stage.asked,
                    "parsed": stage.parsed,
                    "kept": stage.kept,
                    "yield": round(stage.kept / stage.asked, 3),
                    "rejected": "; ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())),
                    "tokens_in": sum(row["tokens_in"] for row in answers),
                    "tokens_out": written,
                    "seconds": round(seconds, 1),
                    "tokens_per_second": round(written / seconds, 1),
                }
            )
    return pd.DataFrame(rows)


def bundle(out: Path) -> None:
    """Copy what the small model's prompts brought into the kit's data, with the record of how it was made."""
    done = [category for category in ORDER if (out / "small" / "responses" / f"{category}.jsonl").exists()]
    for category in done:
        rows = read_jsonl(out / "small" / "responses" / f"{category}.jsonl")
        write_jsonl(BUNDLE / "responses" / f"{category}.jsonl", ({key: row[key] for key in ROW} for row in rows))
    yields = table(out)
    write_text(BUNDLE / "yield.csv", yields.to_csv(index=False))
    used = yields[yields["prompts"] == "small"].set_index("category")
    measured = used[["asked", "tokens_in", "tokens_out", "seconds"]].to_dict("index")
    made = settings("small").generation.model_dump(
        mode="json", include={*GENERATION, "frequency_penalty", "seed"} - {"brainstorms"}
    )
    made |= {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "variant": "small"}
    write_json(BUNDLE / "made.json", {**made, "measured": measured})


def main() -> None:
    """Ask what the command line names (by default all that is bundled), then write the bundle or show the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "smollm2-135m", help="folder of answers and timing")
    parser.add_argument("--categories", nargs="+", default=ORDER, choices=ORDER)
    parser.add_argument("--prompts", default="small", choices=VARIANTS)
    parser.add_argument("--n", type=int, default=0, help="answers per category (0: as many as are bundled)")
    parser.add_argument("--bundle", action="store_true", help="write the kit's bundle from what is there")
    given = parser.parse_args()
    open_backend(settings(given.prompts).generation)  # the model is loaded before a clock runs
    for category in given.categories:
        ask(given.prompts, category, given.n or len(responses(category)), given.out)
    close_backends()
    if given.bundle:
        bundle(given.out)
    print(table(given.out).to_string(index=False))


if __name__ == "__main__":
    main()
