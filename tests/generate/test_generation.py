"""Generation: replay, the store, the OpenAI-compatible backend, cost, and being killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_llm import FakeLLM
from hashed import digest_tree

from lib.common.design import CODES
from lib.common.files import KitError, read_json, read_jsonl, write_json, write_jsonl
from lib.generate import generate as generation
from lib.generate.answers import Answer, AnswerStore, Request, responses
from lib.generate.dataset import cost_table, write_report
from lib.generate.llms import close_backends
from lib.generate.parsing import to_triplets
from lib.generate.prompts import BRAINSTORMED, answer_schema, load_template
from lib.params.params import load
from lib.params.provenance import LATER, decisive, differences


@pytest.fixture(autouse=True)
def fresh_backend():
    yield
    close_backends()


def served(server, **leaves):
    return load(
        "classroom",
        {
            "generation.backend": "openai",
            "generation.base_url": server.url,
            "generation.model": "fake",
            "generation.brainstorms": 4,
            "generation.n": dict.fromkeys(CODES, 20),
            "generation.concurrency": 8,
            **{f"generation.{name}": value for name, value in leaves.items()},
        },
    )


@pytest.mark.parametrize("category", list(CODES))
def test_replay(category, tmp_path):
    params = load("classroom")
    rows = generation.generate(params, category, out_dir=tmp_path, progress=False)
    triplets, rejected = to_triplets(category, rows)
    assert not rejected and len(triplets) == len(rows) == {"long_long": 160, "sts": 150, "bitext": 120}.get(
        category, 200
    )
    assert rows == read_jsonl(tmp_path / "responses" / f"{category}.jsonl")
    fixed = {"sts": "Retrieve semantically similar text.", "bitext": "Retrieve parallel sentences."}
    assert all(
        t.instruction == fixed.get(category, r["slots"].get("task")) for t, r in zip(triplets, rows, strict=True)
    )
    assert len({t.id for t in triplets}) == len(triplets) and all(
        t.category == category and t.language for t in triplets
    )
    assert all(bool(t.negative) == (category not in ("short_short", "long_long")) for t in triplets)
    assert generation.generate(params, category, 7, tmp_path / "part", progress=False) == rows[:7]
    if category in BRAINSTORMED:
        tasks = generation.brainstorm(params, category, tmp_path, progress=False)
        assert {row["slots"]["task"] for row in rows} <= set(tasks) and len(tasks) == (
            32 if category == "long_long" else 40
        )


def test_replay_refuses_what_it_does_not_have(tmp_path):
    with pytest.raises(KitError, match="120 are bundled"):
        generation.generate(load("classroom"), "bitext", 121, tmp_path, progress=False)


def test_all_categories_through_a_server(tmp_path):
    with FakeLLM() as server:
        params = served(server, price_in=0.1, price_out=0.4)
        counts = {}
        for category in CODES:
            rows = generation.generate(params, category, out_dir=tmp_path, progress=False)
            triplets, rejected = to_triplets(category, rows)
            counts[category] = {
                "asked": 20,
                "parsed": len(triplets),
                "rejected": rejected,
                "duplicates": 1,
                "valid": len(triplets) - 1,
            }
            assert [row["id"] for row in rows] == [f"{CODES[category]}-{i:06d}" for i in range(20)]
            assert len(triplets) + sum(rejected.values()) == 20 and set(rejected) <= {"truncated"}
            assert {row["finish"] for row in rows} <= {"stop", "length"}
        asked = server.count
        assert server.most <= 8 and asked == 6 * 20 + 4 * 4
        seeds = [body["seed"] for body in server.bodies]
        assert len(set(seeds)) == asked and all(body["model"] == "fake" for body in server.bodies)
        schema = [
            body["response_format"]["json_schema"]["schema"] for body in server.bodies if "response_format" in body
        ]
        assert len(schema) == 120 and all(s["additionalProperties"] is False for s in schema)
        before = digest_tree(tmp_path)
        for category in CODES:
            generation.generate(params, category, out_dir=tmp_path, progress=False)
        assert server.count == asked and digest_tree(tmp_path) == before  # nothing is asked twice
    check_costs(params, counts, tmp_path)


def check_costs(params, counts, out):
    write_report(params, counts, out)
    table = cost_table(out).set_index("category")
    rows = read_jsonl(out / "responses" / "short_long.jsonl") + read_jsonl(out / "brainstorm" / "short_long.jsonl")
    tokens_in, tokens_out = (sum(row[name] for row in rows) for name in ("tokens_in", "tokens_out"))
    row = table.loc["short-long"]
    assert (row.tokens_in, row.tokens_out, row.asked, row.duplicates) == (tokens_in, tokens_out, 20, 1)
    assert row.cost == pytest.approx((0.1 * tokens_in + 0.4 * tokens_out) / 1e6)
    assert row.cost_per_1000 == pytest.approx(1000 * row.cost / row.valid) and row.seconds > 0
    assert len(table) == 6


def test_cost_by_gpu_seconds_and_without_a_price():
    assert generation.money(load("classroom").generation.model_dump(), 10, 10, 10.0) is None
    params = load("classroom", {"generation.gpu_price": 2.0, "generation.gpus": 4})
    assert generation.money(params.generation.model_dump(), 10, 10, 1800.0) == pytest.approx(4.0)


def test_row_i_and_its_answer_do_not_depend_on_n(tmp_path):
    with FakeLLM() as server:
        params = served(server)
        some = generation.generate(params, "sts", 5, tmp_path, progress=False)
        count = server.count
        more = generation.generate(params, "sts", 12, tmp_path, progress=False)
        assert more[:5] == some and server.count == count + 7  # the first five were kept
        one_by_one = generation.generate(served(server, concurrency=1), "sts", 12, tmp_path / "b", progress=False)
        assert one_by_one == more


def test_a_patient_client(tmp_path):
    """Errors of every kind are asked again; a rate limit stops all workers for as long as the server says."""

    def faults(k):
        return {
            0: (429, {"Retry-After": "0.5"}, {}),
            3: (500, {}, {}),
            5: "cut",
            7: (200, {}, {"choices": []}),
            9: (503, {}, {}),
            11: (200, {}, [1]),
            13: (429, {"Retry-After": "0.1"}, {}),
            15: (200, {}, {"choices": [{"message": None}]}),
        }.get(k)

    with FakeLLM(faults=faults) as server:
        rows = generation.generate(served(server, concurrency=4), "sts", 25, tmp_path, progress=False)
        assert len(rows) == 25 and server.count == 25 + 8
        first = server.times[
            0
        ]  # answers under way come in and three workers may ask once more before the limit is known
        assert not [t for t in server.times if 0.1 < t - first < 0.45]
    with FakeLLM() as server:
        assert generation.generate(served(server), "sts", 25, tmp_path / "calm", progress=False) == rows


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "put a valid key into OPENAI"), (404, "check generation.model"), (400, "refuses the request")],
)
def test_what_no_retry_can_mend_is_said_at_once(tmp_path, status, words):
    with FakeLLM(faults=lambda k: (status, {}, {"error": {"message": "no\nway"}}) if k >= 3 else None) as server:
        with pytest.raises(KitError, match=words) as error:
            generation.generate(served(server, concurrency=1), "sts", 10, tmp_path, progress=False)
        assert "no way" in str(error.value).replace("\\n", " ") and "\n" not in str(error.value) and server.count == 4
    with FakeLLM() as server:  # the three answers that came were kept
        generation.generate(served(server), "sts", 10, tmp_path, progress=False)
        assert server.count == 7


def test_one_prompt_that_is_too_long_does_not_stop_the_others(tmp_path):
    message = {"error": {"message": "This model's maximum context length is 1024 tokens."}}
    with FakeLLM(faults=lambda k: (400, {}, message) if k == 2 else None) as server:
        rows = generation.generate(served(server), "sts", 10, tmp_path, progress=False)
        triplets, rejected = to_triplets("sts", rows)
        assert rejected["no_answer"] == 1 and len(rows) == 10 and len(triplets) == 9 - rejected["truncated"]


def test_a_server_that_is_not_there(tmp_path):
    with FakeLLM() as server:
        params = served(server, retries=0)
    with pytest.raises(KitError, match="no longer answers"):
        generation.generate(params, "sts", 20, tmp_path, progress=False)
    with FakeLLM(faults=lambda k: (500, {}, {}) if k == 1 else None) as server:
        with pytest.raises(KitError, match="1 of 5 sts answers did not come"):
            generation.generate(served(server, retries=0, concurrency=1), "sts", 5, tmp_path, progress=False)
        assert len(generation.generate(served(server), "sts", 5, tmp_path, progress=False)) == 5 and server.count == 6


def test_the_key_comes_from_the_environment_and_stays_there(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    with FakeLLM() as server:
        generation.generate(served(server, api_key_env="SOME_KEY"), "sts", 2, tmp_path, progress=False)
        assert server.auth == ["Bearer sk-very-secret"] * 2
    assert not any(b"sk-very-secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_asking_works_inside_a_running_event_loop(tmp_path):
    import asyncio

    async def notebook():
        with FakeLLM() as server:
            return generation.generate(served(server), "sts", 3, tmp_path, progress=False)

    assert len(asyncio.run(notebook())) == 3


def test_stopping_in_the_middle_keeps_what_came_and_leaves_no_thread(tmp_path, monkeypatch):
    import threading

    with FakeLLM() as server:
        params, append, before = served(server), AnswerStore.append, threading.active_count()

        def interrupted(self, answer):
            if len(self.answers) == 6:
                raise KeyboardInterrupt
            return append(self, answer)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(AnswerStore, "append", interrupted)
            generation.generate(params, "sts", 20, tmp_path, progress=False)
        time.sleep(0.2)
        assert (
            not [t for t in threading.enumerate() if t.name.startswith("answers")]
            and before <= threading.active_count()
        )
        count = server.count
        generation.generate(params, "sts", 20, tmp_path, progress=False)
        assert server.count - count == 14


def test_the_store_survives_a_torn_line_and_names_a_broken_one(tmp_path):
    path = tmp_path / "a.jsonl"
    with AnswerStore(path) as store:
        store.append(Answer("k1", "one \ud83d\ude00 \ud83d"))
        with pytest.raises(KitError, match="another process"), AnswerStore(path):
            pass
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + whole[:cut].replace(b"\n", b""))
        with AnswerStore(path) as store:
            assert list(store.answers) == ["k1"] and store.answers["k1"]["response"] == "one 😀 \ufffd"
        assert path.read_bytes() == whole
    path.write_bytes(whole + b"nonsense\n" + whole)
    with pytest.raises(KitError, match="line 2"), AnswerStore(path):
        pass


def test_another_model_or_temperature_is_another_answer(tmp_path):
    with FakeLLM() as server:
        for leaves in (
            {},
            {"temperature": 0.1},
            {"model": "other"},
            {"top_p": 0.5},
            {"max_tokens": 9},
            {"seed": 1},
            {"structured": "off"},
        ):
            count = server.count
            generation.generate(served(server, **leaves), "sts", 3, tmp_path, progress=False)
            assert server.count == count + 3


def test_keys_of_answers_bought_long_ago_stay():
    request = Request("s", "p", "m", 7, 0.8, 0.9, 64)
    assert request.key == "776a27098de1c707"  # as the kit had it before there were examples and penalties
    assert replace(request, structured="json_schema", schema={"type": "object"}).key == "ed0cfc4fac836f0e"
    changed = [replace(request, examples=(("q", "a"),)), replace(request, frequency_penalty=0.1)]
    assert len({request.key, *(other.key for other in changed)}) == 3


def test_a_small_model_is_asked_with_examples_for_the_bundled_tasks(tmp_path):
    """Row by row the tasks and slots of the classroom's answers, then the same again with other seeds."""
    with FakeLLM() as server:
        params = served(server, variant="small", frequency_penalty=0.2)
        rows = generation.generate(params, "short_short", 330, tmp_path, progress=False)
        assert generation.brainstorm(params, "short_short", tmp_path, progress=False)
        assert server.count == 330  # nobody was asked for tasks
        bodies = list(server.bodies)
    bundled = responses("short_short")
    assert [row["slots"] for row in rows] == [row["slots"] for row in (*bundled, *bundled[:10])]
    assert len({row["response"] for row in rows}) == 330
    for body in bodies:
        roles = [message["role"] for message in body["messages"]]
        assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
        assert body["frequency_penalty"] == 0.2
        assert body["response_format"]["json_schema"]["schema"]["properties"]["input"]["minLength"] > 1


@pytest.mark.parametrize(
    ("text", "finish", "length"),
    [("x" * 9, "stop", True), ("x" * 8, "stop", False), ("no object", "stop", False), ("x", "length", True)],
)
def test_a_text_that_fills_its_schema_was_cut(text, finish, length):
    response = json.dumps({"input": text, "positive_document": "y"}) if text != "no object" else text
    request = Request("", "p", "m", 1, 0.8, 0.9, 64, "json_schema", answer_schema("short_short", 9))
    assert generation.finish(request, {"response": response, "finish": finish}) == ("length" if length else finish)
    assert generation.finish(replace(request, schema=None), {"response": response, "finish": "stop"}) == "stop"
    assert generation.finish(request, {"response": "[" * 100_000, "finish": "stop"}) == "stop"


def test_answers_that_ran_to_a_limit_are_counted(tmp_path):
    whole = '{"input": "a riddle", "positive_document": "an answer"}'
    rows = [{"response": whole, "finish": finish} for finish in ("stop", "length", "stop", "length")]
    triplets, rejected = to_triplets("short_short", rows)
    assert len(triplets) == 2 and rejected == {"truncated": 2}


def second_bundle(folder):
    """Two answers of another generator, one of them cut."""
    task = {"task": "Match a riddle with its answer.", "language": "English"}
    rows = [
        {"slots": task, "response": response, "finish": finish, "tokens_in": 9, "tokens_out": tokens}
        for response, finish, tokens in (
            ('{"input": "What has keys?", "positive_document": "A piano has them."}', "stop", 20),
            ('{"input": "What has ke', "length", 64),
        )
    ]
    write_jsonl(folder / "other-1b" / "responses" / "short_short.jsonl", rows)
    write_json(folder / "other-1b" / "made.json", {"variant": "small"})


def test_a_second_bundle_is_replayed_by_its_name(tmp_path, monkeypatch):
    second_bundle(tmp_path)
    monkeypatch.setattr("lib.generate.answers.GENERATORS", tmp_path)
    params = load("classroom", {"generation.bundle": "other-1b", "generation.n": {}})
    rows = generation.generate(params, "short_short", out_dir=tmp_path / "out", progress=False)
    assert [(row["finish"], row["tokens_out"], row["model"]) for row in rows] == [
        ("stop", 20, "other-1b"),
        ("length", 64, "other-1b"),
    ]
    assert rows[0]["prompt"] == load_template("short_short", "small").render(rows[0]["slots"])  # as it was asked
    assert to_triplets("short_short", rows)[1] == {"truncated": 1}
    classroom = generation.generate(load("classroom"), "short_short", 2, tmp_path / "out", progress=False)
    assert classroom[0]["model"] == "replay" and classroom[0]["response"] != rows[0]["response"]
    assert params.data_dir != load("classroom").data_dir
    with pytest.raises(KitError, match="no bundled responses answers for 'sts' in other-1b; there are short_short"):
        generation.generate(params, "sts", out_dir=tmp_path / "out", progress=False)


def test_an_unknown_bundle_is_one_sentence(tmp_path):
    with pytest.raises(KitError, match="no bundled answers 'smollm3'; set generation.bundle to classroom or smollm2"):
        generation.generate(load("classroom", {"generation.bundle": "smollm3"}), "sts", out_dir=tmp_path)
    with pytest.raises(KitError, match="generation.bundle"):
        load("classroom", {"generation.bundle": "../classroom"})


def test_a_record_from_before_there_were_bundles_is_not_stale():
    here = decisive(load("classroom"), "data")
    there = {name: value for name, value in here.items() if name not in LATER}
    assert len(there) == len(here) - len([name for name in LATER if name in here]) < len(here)
    assert not differences(there, here)
    other = decisive(load("classroom", {"generation.bundle": "smollm2-135m"}), "data")
    assert differences(there, other) == {"generation.bundle": ("classroom", "smollm2-135m")}


RUN = """
import sys
from lib.generate import generate as generation
from lib.generate.dataset import write_report
from lib.generate.parsing import to_triplets
from lib.params.params import load
params = load("classroom", {"generation.backend": "openai", "generation.base_url": sys.argv[1],
    "generation.model": "fake", "generation.brainstorms": 6, "generation.concurrency": 6,
    "generation.n": {"short_long": 110, "bitext": 90}})
counts = {}
for category in ("short_long", "bitext"):
    rows = generation.generate(params, category, out_dir=sys.argv[2], progress=len(sys.argv) > 3)
    triplets, rejected = to_triplets(category, rows)
    n = len(triplets)
    counts[category] = {"asked": len(rows), "parsed": n, "rejected": rejected, "duplicates": 0, "valid": n}
write_report(params, counts, sys.argv[2])
"""


def final_files(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(Path(out).rglob("*"))
        if path.is_file() and path.relative_to(out).parts[0] not in ("answers", "timing")
    }


@pytest.mark.slow
def test_killed_thirty_times(tmp_path):
    """30 SIGKILLs at random moments, then one clean run: the files of an uninterrupted run, no answer asked in vain."""
    rng = random.Random(20)
    with FakeLLM(delay=(0.1, 0.4)) as server:
        command = [sys.executable, "-c", RUN, server.url]
        subprocess.run([*command, str(tmp_path / "whole")], check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
        whole_count, out, kept = server.count, tmp_path / "killed", []
        for life in range(30):
            count, process = server.count, subprocess.Popen([*command, str(out)], stderr=subprocess.DEVNULL)
            while life % 6 and server.count == count and process.poll() is None:  # every sixth dies while it starts
                time.sleep(0.005)
            time.sleep(rng.uniform(0.0, 0.5))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            kept.append(
                sum(path.read_bytes().count(b"\n") for path in (out / "answers").glob("*.jsonl")) if out.exists() else 0
            )
        subprocess.run([*command, str(out)], check=True, env={**os.environ, "PYTHONHASHSEED": "2"})
    assert kept == sorted(kept) and len(set(kept)) > 10  # most lives got further, and none lost an answer
    assert final_files(out) == final_files(tmp_path / "whole") and len(final_files(out)) == 4
    assert server.count - whole_count <= whole_count + 31 * 6  # at most the requests under way were asked again
    report = read_json(out / "generation.json")
    assert report["categories"]["short_long"]["asked"] == 110 and report["categories"]["short_long"]["tokens_out"] > 0


def test_the_bar_shows_valid_and_cost(tmp_path, capsys):
    with FakeLLM() as server:
        generation.generate(served(server, price_out=5.0), "sts", 10, tmp_path)
    shown = capsys.readouterr().err
    assert "10/10" in shown and "valid=" in shown and "cost=" in shown and "USD" in shown


@pytest.mark.parametrize("backend", ["openai", "vllm"])
def test_a_backend_without_a_model_says_so(tmp_path, backend):
    params = load("classroom", {"generation.backend": backend, "generation.n": {"sts": 1}})
    with pytest.raises(KitError, match="generation.model"):
        generation.generate(params, "sts", out_dir=tmp_path)


def test_released_triplets_are_not_asked_for(tmp_path):
    params = load("laptop", {"paths.runs": str(tmp_path)})
    with pytest.raises(KitError, match="released triplets are loaded, not asked for: set generation.backend"):
        generation.ask(params, "sts", 1, progress=False)


def test_asking_for_nothing_is_refused(tmp_path):
    with FakeLLM() as server, pytest.raises(KitError, match="generation.n.sts"):
        generation.generate(served(server, n={}), "sts", out_dir=tmp_path)
    assert json.dumps(load("paper").generation.n)
