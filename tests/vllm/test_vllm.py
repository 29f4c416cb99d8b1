"""The real vLLM on the CPU, in process and as a server: six categories end to end.

Run by ``make test-vllm`` in an environment of its own (tests/vllm/setup.sh). A random model held to a JSON schema
rambles inside its texts, so the tests bound the texts with ``generation.max_chars``; where they mean to run into
the token limit they do not.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from lib.common.design import CODES
from lib.common.files import KitError, read_jsonl
from lib.generate import generate as generation
from lib.generate.llms import close_backends
from lib.generate.parsing import to_triplets
from lib.generate.prompts import BRAINSTORMED, KEYS
from lib.params.params import load

N = 5
REAL_BRAINSTORM = generation.brainstorm


def settings(llama, **leaves):
    return load(
        "classroom",
        {
            f"generation.{name}": value
            for name, value in {
                "backend": "vllm",
                "model": str(llama),
                "max_model_len": 1500,
                "max_tokens": 500,
                "max_chars": 40,
                "brainstorms": 2,
                "n": dict.fromkeys(CODES, N),
                "temperature": 1.0,
                "top_p": 1.0,
                "dtype": "bfloat16",
                **leaves,
            }.items()
        },
    )


def give_tasks(out):
    """A random model thinks of no tasks: use the bundled ones."""
    tasks = {
        category: REAL_BRAINSTORM(load("classroom"), category, out / "tasks", progress=False)
        for category in BRAINSTORMED
    }
    return lambda params, category, *_: tasks[category]


@pytest.fixture(scope="module")
def in_process(llama, tmp_path_factory):
    """All six categories through LLM, once; the engine stays up for the tests that follow."""
    out = tmp_path_factory.mktemp("data")
    patch = pytest.MonkeyPatch()
    patch.setattr(generation, "brainstorm", give_tasks(out))
    params = settings(llama)
    rows = {category: generation.generate(params, category, out_dir=out, progress=False) for category in CODES}
    yield params, out, rows
    close_backends()
    patch.undo()


@pytest.mark.parametrize("category", list(CODES))
def test_every_answer_is_schema_valid(in_process, category):
    rows = in_process[2][category]
    triplets, rejected = to_triplets(category, rows)
    assert len(rows) == len(triplets) == N and not rejected
    for row in rows:
        answer = json.loads(row["response"], strict=False)  # as vLLM wrote it, before any parser of ours
        assert list(answer) == list(KEYS[category]) and all(isinstance(text, str) for text in answer.values())
        assert row["finish"] == "stop" and row["tokens_in"] > 20 and 5 < row["tokens_out"] <= 500
    assert len({row["response"] for row in rows}) == N  # one seed per request


def test_answers_hold_what_a_bad_day_holds(in_process):
    """Raw control characters and characters beyond ASCII are among the answers, so the 100 % above means something."""
    text = "".join(row["response"] for rows in in_process[2].values() for row in rows)
    assert any(ord(character) > 127 for character in text)
    with pytest.raises(json.JSONDecodeError):
        for rows in in_process[2].values():
            for row in rows:
                json.loads(row["response"])  # strict JSON forbids raw control characters; none here would fail the test


def test_the_files_are_the_same_when_only_some_answers_are_missing(in_process):
    params, out, _ = in_process
    whole = (out / "responses" / "bitext.jsonl").read_bytes()
    store = out / "answers" / "bitext.jsonl"
    lines = store.read_bytes().split(b"\n")
    store.write_bytes(b"\n".join(lines[1:3]) + b"\n" + lines[3][:40])  # killed: two answers kept, one torn
    generation.generate(params, "bitext", out_dir=out, progress=False)
    assert (out / "responses" / "bitext.jsonl").read_bytes() == whole


def test_answers_near_the_token_limit_are_rejected_as_truncated(in_process, llama, tmp_path):
    """Long-long without a bound on its texts: the random model rambles until max_tokens cuts it off."""
    rows = generation.generate(settings(llama, max_chars=0, max_tokens=300), "long_long", 8, tmp_path, progress=False)
    triplets, rejected = to_triplets("long_long", rows)
    cut = sum(row["finish"] == "length" for row in rows)
    assert cut >= 4 and rejected == {"truncated": cut} and len(triplets) == 8 - cut
    assert all(row["tokens_out"] == 300 for row in rows if row["finish"] == "length")


def test_a_prompt_longer_than_the_model_is_one_rejection(in_process, llama, tmp_path, monkeypatch):
    tasks = ["find " * 3000, "Match a riddle with its answer."]
    monkeypatch.setattr(generation, "brainstorm", lambda *_: tasks)
    rows = generation.generate(settings(llama), "short_short", 12, tmp_path, progress=False)
    long = [row for row in rows if len(row["prompt"]) > 5000]
    triplets, rejected = to_triplets("short_short", rows)
    assert 0 < len(long) < 12 and rejected == {"no_answer": len(long)} and len(triplets) == 12 - len(long)


def test_brainstorms_run_without_a_schema(in_process, llama, tmp_path):
    params = settings(llama, max_tokens=30)
    with pytest.raises(KitError, match="none of 2 brainstorm answers"):
        REAL_BRAINSTORM(params, "long_short", tmp_path, progress=False)
    rows = read_jsonl(tmp_path / "brainstorm" / "long_short.jsonl")
    assert len({row["response"] for row in rows}) == 2 and all(row["tokens_out"] <= 30 for row in rows)


@pytest.fixture(scope="module")
def server(llama, tmp_path_factory):
    """vLLM's own OpenAI-compatible server on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = open(tmp_path_factory.mktemp("log") / "server.log", "w+")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--model",
            str(llama),
            "--served-model-name",
            "tiny",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--max-model-len",
            "1500",
            "--enforce-eager",
            "--no-enable-chunked-prefill",  # as in lib.generate.llms: on a processor it breaks seeded requests
            "--dtype",
            "bfloat16",
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=os.environ.copy(),
    )
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except OSError:
                assert process.poll() is None, log.seek(0) or log.read()[-3000:]
                time.sleep(0.5)
        else:
            raise AssertionError("the server did not come up in 150 s")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_all_categories_through_the_real_server(server, tmp_path, monkeypatch):
    close_backends()
    monkeypatch.setattr(generation, "brainstorm", give_tasks(tmp_path))
    params = settings("tiny", backend="openai", base_url=server, concurrency=8)
    for category in CODES:
        rows = generation.generate(params, category, out_dir=tmp_path, progress=False)
        triplets, rejected = to_triplets(category, rows)
        assert len(triplets) == N and not rejected and len({row["response"] for row in rows}) == N
        for row in rows:
            assert list(json.loads(row["response"], strict=False)) == list(KEYS[category]) and row["tokens_out"] > 5


def test_truncation_long_prompts_and_unknown_models_through_the_server(server, tmp_path, monkeypatch):
    tasks = ["find " * 3000, "Match a riddle with its answer."]
    monkeypatch.setattr(generation, "brainstorm", lambda *_: tasks)
    free = settings("tiny", backend="openai", base_url=server, max_chars=0, max_tokens=200)
    rows = generation.generate(free, "long_long", 8, tmp_path, progress=False)
    long = sum(len(row["prompt"]) > 5000 for row in rows)
    cut = sum(row["finish"] == "length" for row in rows)
    rejected = to_triplets("long_long", rows)[1]
    assert long and cut and rejected == {"no_answer": long, "truncated": cut}
    with pytest.raises(KitError, match="check generation.model"):
        generation.generate(settings("other", backend="openai", base_url=server), "sts", 2, tmp_path, progress=False)
