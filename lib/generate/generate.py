"""Generation: plan the prompts, ask for what is missing, keep every answer, make the same final files always.

For the four asymmetric categories an LLM first thinks of tasks (brainstorm), then writes one example per prompt;
STS and bitext need one step (paper, section 2). Killed anywhere and run again, only missing answers are asked
for. Files below ``out_dir``: ``answers/`` (the store), ``brainstorm/`` and ``responses/`` (one JSONL per category).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib.common.design import CODES
from lib.common.files import KitError, write_json, write_jsonl
from lib.generate.answers import AnswerStore
from lib.generate.backends import open_backend
from lib.generate.costs import cost_table, money, write_report
from lib.generate.parsing import Parsed, parse_brainstorm, parse_response
from lib.generate.prompts import BRAINSTORMED, answer_schema, item_seed, load_template, sample_slots
from lib.generate.reading import read_answer, to_triplets
from lib.generate.replay import place
from lib.generate.request import Request

if TYPE_CHECKING:
    from lib.params.params import GenerationParams, Params

__all__ = [
    "BRAINSTORMED",
    "Item",
    "ask",
    "brainstorm",
    "cost_table",
    "generate",
    "money",
    "plan",
    "read_answer",
    "to_triplets",
    "write_report",
]


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the plan: its name, the slot values, and the request made of them."""

    id: str
    slots: dict[str, str]
    request: Request


def generate(
    params: Params, category: str, n: int | None = None, out_dir: str | Path | None = None, progress: bool = True
) -> list[dict]:
    """Return the answers of a category in plan order and write them to ``out_dir/responses/<category>.jsonl``.

    Each row: ``id, slots, prompt, response, finish, tokens_in, tokens_out, model``. ``n`` defaults to
    ``generation.n[category]`` (0: all bundled answers, replay only), ``out_dir`` to the run's data folder.
    Raises KitError when answers are still missing at the end; what did come is kept, and running again goes on.
    """
    out = Path(out_dir or params.data_dir)
    rows = ask(params, category, n, out, progress)
    write_jsonl(out / "responses" / f"{category}.jsonl", rows)
    return rows


def ask(
    params: Params, category: str, n: int | None = None, out_dir: str | Path | None = None, progress: bool = True
) -> list[dict]:
    """Return what ``generate`` returns, keep every answer in the store, but leave the final file alone: for a look."""
    out = Path(out_dir or params.data_dir)
    generation = params.generation
    tasks = None
    if category in BRAINSTORMED and generation.backend != "replay":
        tasks = brainstorm(params, category, out, progress)
    items = plan(generation, category, n, tasks)
    return _collect(
        generation, category, items, out, progress, lambda text: isinstance(parse_response(category, text), Parsed)
    )


def brainstorm(params: Params, category: str, out_dir: str | Path | None = None, progress: bool = True) -> list[str]:
    """Return the tasks of an asymmetric category, without repetitions, in plan order.

    The same prompt is asked ``generation.brainstorms`` times with different seeds. Writes
    ``out_dir/brainstorm/<category>.jsonl``. Raises KitError when no answer holds a list of tasks.
    """
    out = Path(out_dir or params.data_dir)
    generation = params.generation
    prompt = load_template(category, generation.variant, generation.templates or None, stage="brainstorm").render({})
    count = len(_bundled(category, "brainstorm")) if generation.backend == "replay" else generation.brainstorms
    items = [
        Item(f"{CODES[category]}-tasks-{i:05d}", {}, _request(generation, category, "brainstorm", i, prompt))
        for i in range(count)
    ]
    rows = _collect(
        generation, f"brainstorm_{category}", items, out, progress, lambda text: bool(parse_brainstorm(text))
    )
    tasks: dict[str, str] = {}
    for row in rows:
        row["tasks"] = parse_brainstorm(row["response"])
        for task in row["tasks"]:
            tasks.setdefault(task.casefold().rstrip(". "), task)
    write_jsonl(out / "brainstorm" / f"{category}.jsonl", rows)
    if not tasks:
        raise KitError(
            f"none of {len(rows)} brainstorm answers for {category} holds a list of tasks; "
            f"read {out / 'brainstorm' / category}.jsonl and try another generation.model"
        )
    return list(tasks.values())


def plan(
    generation: GenerationParams,
    category: str,
    n: int | None = None,
    tasks: Sequence[str] | None = None,
    start: int = 0,
) -> list[Item]:
    """Return rows ``start`` to ``start + n - 1`` of the plan; row i is the same whatever n and start are."""
    template = load_template(category, generation.variant, generation.templates or None)
    n = generation.n.get(category, 0) if n is None else n
    if generation.backend == "replay":
        slots = [row["slots"] for row in _bundled(category, "instance")]
        if n > len(slots):
            raise KitError(
                f"generation.n asks for {n} {category} answers, but {len(slots)} are bundled; ask for fewer "
                "or choose another generation.backend"
            )
        slots = slots[start : start + n] if n else slots[start:]
    elif n < 1:
        raise KitError(
            f"generation.n does not say how many {category} triplets to ask for; set generation.n.{category}"
        )
    else:
        slots = sample_slots(
            template,
            n,
            generation.seed,
            category,
            list(tasks or []) if category in BRAINSTORMED else None,
            start,
            generation.compare_indices,
        )
    return [
        Item(f"{CODES[category]}-{i:06d}", row, _request(generation, category, "instance", i, template.render(row)))
        for i, row in enumerate(slots, start=start)
    ]


def _bundled(category: str, stage: str) -> list:
    from lib.generate import sources

    return sources.responses(category) if stage == "instance" else sources.brainstorm(category)


def _request(generation: GenerationParams, category: str, stage: str, index: int, prompt: str) -> Request:
    writing = stage == "instance"
    structured = generation.structured if writing else "off"
    return Request(
        system=generation.system,
        prompt=prompt,
        model=place(category, stage, index) if generation.backend == "replay" else generation.model,
        seed=item_seed(generation.seed, category, stage, index),
        temperature=generation.temperature if writing else generation.brainstorm_temperature,
        top_p=generation.top_p if writing else generation.brainstorm_top_p,
        max_tokens=generation.max_tokens,
        structured=structured,
        schema=answer_schema(category, generation.max_chars) if structured == "json_schema" else None,
    )


def _collect(
    generation: GenerationParams,
    name: str,
    items: list[Item],
    out: Path,
    progress: bool,
    is_valid: Callable[[str], bool],
) -> list[dict]:
    """Ask for the answers that the store does not hold; return all rows in plan order."""
    from lib.common.bars import bar as progress_bar

    wanted = {item.request.key: item.request for item in items}
    with AnswerStore(out / "answers" / f"{name}.jsonl") as store:
        known = [store.answers[key] for key in wanted if key in store.answers]
        missing = [request for key, request in wanted.items() if key not in store.answers]
        with progress_bar(
            total=len(wanted),
            initial=len(known),
            desc=name,
            unit="answer",
            disable=not progress,
            mininterval=0.5,
            dynamic_ncols=False,
            ncols=110,
        ) as bar:
            tally = Counter(valid=sum(is_valid(row["response"]) for row in known) if progress else 0)
            _count(tally, known)
            _show(bar, tally, generation, len(known))
            for answer in open_backend(generation).ask(missing) if missing else ():
                row = store.append(answer)
                tally["valid"] += is_valid(row["response"]) if progress else 0
                _count(tally, [row])
                bar.update()
                _show(bar, tally, generation, bar.n)
        lost = [key for key in wanted if key not in store.answers]
        if lost:
            raise KitError(
                f"{len(lost)} of {len(wanted)} {name} answers did not come; run again, and only they are asked for"
            )
        write_json(out / "timing" / f"{name}.json", {"seconds": store.seconds(set(wanted)), "answers": len(wanted)})
        return [_row(generation, item, store.answers[item.request.key]) for item in items]


def _count(tally: Counter, rows: list[dict]) -> None:
    for row in rows:
        tally["in"] += row["tokens_in"] or 0
        tally["out"] += row["tokens_out"] or 0


def _show(bar, tally: Counter, generation: GenerationParams, done: int) -> None:
    spent = money(generation, tally["in"], tally["out"], bar.format_dict["elapsed"] or 0.0)
    shown = {"valid": f"{tally['valid']}/{done}"}
    if spent is not None:
        shown["cost"] = f"{spent:.{2 if spent >= 1 else 4}f} {generation.currency}"
    bar.set_postfix(shown, refresh=False)


def _row(generation: GenerationParams, item: Item, answer: dict) -> dict:
    model = generation.backend if generation.backend == "replay" else generation.model
    return {
        "id": item.id,
        "slots": item.slots,
        "prompt": item.request.prompt,
        "response": answer["response"],
        "finish": answer["finish"],
        "tokens_in": answer["tokens_in"],
        "tokens_out": answer["tokens_out"],
        "model": model,
    }
