"""Generation: plan the prompts, ask for what is missing, keep every answer, make the same final files always.

For the four asymmetric categories an LLM first thinks of tasks (brainstorm), then writes one example per prompt;
STS and bitext need one step (paper, section 2). Killed anywhere and run again, only missing answers are asked
for. Files below ``out_dir``: ``answers/`` (the store), ``brainstorm/`` and ``responses/`` (one JSONL per category).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from lib.common import bundled
from lib.common.design import CODES
from lib.common.files import KitError, write_json, write_jsonl
from lib.generate.answers import CLASSROOM, AnswerStore, Replay, Request, made_with, responses
from lib.generate.llms import open_backend
from lib.generate.parsing import Parsed, parse_brainstorm, parse_response
from lib.generate.prompts import BRAINSTORMED, Template, answer_schema, item_seed, load_template, sample_slots
from lib.params.data import GenerationParams
from lib.params.params import Params

Item = tuple[str, dict[str, str], Request]  # a row of the plan: its name, the slot values, the request made of them


def generate(
    params: Params, category: str, n: int = 0, out_dir: str | Path | None = None, progress: bool = True
) -> list[dict]:
    """Return the answers of a category in plan order and write them to ``out_dir/responses/<category>.jsonl``.

    Each row: ``id, slots, prompt, response, finish, tokens_in, tokens_out, model``. ``n``: else
    ``generation.n[category]`` (0: all bundled answers, replay only); ``out_dir``: else the run's data folder.
    Raises KitError when answers are still missing at the end; what did come is kept, and running again goes on.
    """
    out = Path(out_dir or params.data_dir)
    rows = ask(params, category, n, out, progress)
    write_jsonl(out / "responses" / f"{category}.jsonl", rows)
    return rows


def ask(
    params: Params, category: str, n: int = 0, out_dir: str | Path | None = None, progress: bool = True
) -> list[dict]:
    """Return what ``generate`` returns and keep every answer, but leave the final file alone: for a look."""
    out, generation = Path(out_dir or params.data_dir), params.generation
    own_tasks = category in BRAINSTORMED and not _bundled_plan(generation)
    items = _plan(generation, category, n, brainstorm(params, category, out, progress) if own_tasks else None)
    return _collect(
        generation, category, items, out, lambda text: isinstance(parse_response(category, text), Parsed), progress
    )


def brainstorm(params: Params, category: str, out_dir: str | Path | None = None, progress: bool = True) -> list[str]:
    """Return the tasks of an asymmetric category, without repetitions; write ``out_dir/brainstorm/<category>.jsonl``.

    The same prompt is asked ``generation.brainstorms`` times with different seeds; where the plan is that of the
    bundled answers, so are the lists. Raises KitError when no answer holds a list of tasks.
    """
    out, generation = Path(out_dir or params.data_dir), params.generation
    if _bundled_plan(generation):
        generation = generation.model_copy(update={"backend": "replay"})
    template = load_template(category, generation.variant, "brainstorm")
    replay = generation.backend == "replay"
    count = len(responses(category, kind="brainstorm")) if replay else generation.brainstorms
    items = [_item(generation, category, "brainstorm", i, template, {}) for i in range(count)]
    rows = _collect(generation, f"brainstorm_{category}", items, out, parse_brainstorm, progress)
    tasks: dict[str, str] = {}
    for row in rows:
        row["tasks"] = parse_brainstorm(row["response"])
        for task in row["tasks"]:
            tasks.setdefault(task.casefold().rstrip(". "), task)
    write_jsonl(out / "brainstorm" / f"{category}.jsonl", rows)
    if not tasks:
        fix = f"read {out / 'brainstorm' / category}.jsonl and try another generation.model"
        raise KitError(f"none of {len(rows)} brainstorm answers for {category} holds a list of tasks; {fix}")
    return list(tasks.values())


def _plan(generation: GenerationParams, category: str, n: int, tasks: list[str] | None) -> list[Item]:
    """Return the first ``n`` rows of the plan; row i is the same whatever n is."""
    replay = generation.backend == "replay"
    template = load_template(category, made_with(generation) if replay else generation.variant)
    n = n or generation.n.get(category, 0)
    if not replay and n < 1:
        raise KitError(f"set generation.n.{category}: it says how many {category} triplets to ask for")
    if _bundled_plan(generation):
        rows = responses(category, generation.bundle if replay else CLASSROOM)
        if replay and n > len(rows):
            raise KitError(f"generation.n asks for {n} {category} answers, but {len(rows)} are bundled; ask for fewer")
        # a small model gets row by row the plan of the bundled answers, then the same again with other seeds
        slots = [rows[i % len(rows)]["slots"] for i in range(n or len(rows))]
    else:
        slots = sample_slots(template, n, generation.seed, category, tasks)
    return [_item(generation, category, "instance", i, template, row) for i, row in enumerate(slots)]


def _bundled_plan(generation: GenerationParams) -> bool:
    """Say whether tasks and slots are those of the bundled answers: nobody brainstorms then."""
    return generation.backend == "replay" or generation.variant == "small"


def _item(
    generation: GenerationParams, category: str, stage: str, index: int, template: Template, slots: dict[str, str]
) -> Item:
    writing = stage == "instance"
    structured = generation.structured if writing else "off"
    request = Request(
        system=generation.system,
        prompt=template.render(slots),
        model=Replay.model(generation, category, stage, index) if generation.backend == "replay" else generation.model,
        seed=item_seed(generation.seed, category, stage, index),
        temperature=generation.temperature if writing else generation.brainstorm_temperature,
        top_p=generation.top_p if writing else generation.brainstorm_top_p,
        max_tokens=generation.max_tokens,
        structured=structured,
        schema=answer_schema(category, generation.max_chars, template.lengths) if structured == "json_schema" else None,
        examples=template.shown(index),
        frequency_penalty=generation.frequency_penalty,
    )
    return f"{CODES[category]}-{index:06d}" if writing else f"{CODES[category]}-tasks-{index:05d}", slots, request


def _collect(
    generation: GenerationParams, name: str, items: list[Item], out: Path, is_valid: Callable, progress: bool
) -> list[dict]:
    """Ask for the answers that the store does not hold; return all rows in plan order."""
    wanted = {request.key: request for _, _, request in items}
    with AnswerStore(out / "answers" / f"{name}.jsonl") as store:
        missing = [request for key, request in wanted.items() if key not in store.answers]
        known = [store.answers[key] for key in wanted if key in store.answers]
        shown = {"desc": name, "unit": "answer", "mininterval": 0.5, "ncols": 110, "disable": not progress}
        with bundled.bar(total=len(wanted), initial=len(known), **shown) as bar:
            _show(bar, tally := Counter(), generation, is_valid, known)
            if missing:  # closed at once when interrupted, so that no request stays under way
                with closing(open_backend(generation).ask(missing)) as answers:
                    for answer in answers:
                        row = store.append(answer)
                        bar.update()
                        _show(bar, tally, generation, is_valid, [row])
        if lost := len(wanted.keys() - store.answers.keys()):
            raise KitError(f"{lost} of {len(wanted)} {name} answers did not come; run again to ask for them alone")
        write_json(out / "timing" / f"{name}.json", {"seconds": store.seconds(set(wanted)), "answers": len(wanted)})
    small = generation.variant == "small"  # its lengths are near what is asked for: a text of full length was cut
    rows = []
    for item, slots, request in items:
        answer = store.answers[request.key]
        row = {"id": item, "slots": slots, "prompt": request.prompt, "response": answer["response"]}
        row["finish"] = finish(request, answer) if small else answer["finish"]
        row |= {"tokens_in": answer["tokens_in"], "tokens_out": answer["tokens_out"], "model": generation.writer}
        rows.append(row)
    return rows


def finish(request: Request, answer: Mapping) -> str:
    """Return why an answer ended: a text that is as long as its schema allows was cut there, which is "length" too."""
    for key, rule in (request.schema or {}).get("properties", {}).items():
        try:
            text = json.loads(answer["response"], strict=False)[key]
        except (ValueError, LookupError, TypeError, RecursionError):  # no object: the parser will say what is wrong
            break
        if isinstance(text, str) and len(text) >= rule.get("maxLength", len(text) + 1):
            return "length"
    return answer["finish"]


def money(prices: Mapping, tokens_in: int, tokens_out: int, seconds: float) -> float | None:
    """Return the cost of tokens and GPU-seconds, or None without a price (``prices``: those of ``generation``)."""
    gpu_price = prices["gpu_price"] * prices["gpus"]
    if not (prices["price_in"] or prices["price_out"] or gpu_price):
        return None
    return (tokens_in * prices["price_in"] + tokens_out * prices["price_out"]) / 1e6 + gpu_price * seconds / 3600


def _show(bar, tally: Counter, generation: GenerationParams, is_valid: Callable, rows: Sequence[dict]) -> None:
    """Add new rows to the tally, and write beside the bar how many answers are valid and what they cost so far."""
    if bar.disable:
        return
    for row in rows:
        tally["valid"] += bool(is_valid(row["response"]))
        tally["in"] += row["tokens_in"] or 0
        tally["out"] += row["tokens_out"] or 0
    spent = money(generation.model_dump(), tally["in"], tally["out"], bar.format_dict["elapsed"] or 0.0)
    shown = {"valid": f"{tally['valid']}/{bar.n}"}
    if spent is not None:
        shown["cost"] = f"{spent:.{2 if spent >= 1 else 4}f} {generation.currency}"
    bar.set_postfix(shown, refresh=False)
