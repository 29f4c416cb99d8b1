"""The store finds a score again only when everything that could move it is the same."""

import math

import pytest
from scoring_kit import CountingEmbedder, lines, rows_of, write_set

from lib.params.params import ScoringParams
from lib.score import store, suites
from lib.score.score import score
from lib.score.store import Store, task_key


@pytest.fixture
def task(tmp_path):
    write_set(tmp_path / "sets", "STS")
    return suites.tasks(str(tmp_path / "sets"))[0]


def test_the_key_moves_with_whatever_moves_a_score(task, tmp_path, monkeypatch):
    keys = {task_key(task, "adapter A", {"length": 512})}
    keys.add(task_key(task, "adapter B", {"length": 512}))
    keys.add(task_key(task, "adapter A", {"length": 256}))
    monkeypatch.setattr(store, "mteb_version", lambda: "9.9")
    keys.add(task_key(task, "adapter A", {"length": 512}))
    monkeypatch.undo()
    task.max_score = 4
    keys.add(task_key(task, "adapter A", {"length": 512}))
    lines(tmp_path / "sets" / "MySTS.file.jsonl", rows_of("STS")[:-1])
    keys.add(task_key(suites.tasks(str(tmp_path / "sets"))[0], "adapter A", {"length": 512}))
    assert len(keys) == 6
    assert task_key(suites.tasks(str(tmp_path / "sets"))[0], "adapter A", {"length": 512}) in keys


@pytest.mark.slow
def test_the_key_does_not_depend_on_the_process(task):
    import subprocess
    import sys

    folder = str(task.folder)
    code = (
        "import sys; from lib.score import suites; from lib.score.store import task_key; "
        "print(task_key(suites.tasks(sys.argv[1])[0], 'a', {'x': 1}))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, folder],
        env={**__import__("os").environ, "PYTHONHASHSEED": "99"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == task_key(task, "a", {"x": 1})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"key": "k", "task": "T", "score": null}',
        '{"key": "k", "task": "T", "score": NaN}',
        '{"key": "other", "task": "T", "score": 0.5}',
        '{"key": "k", "task": "T", "score": true}',
    ],
)
def test_half_null_and_foreign_records_are_not_there(tmp_path, content):
    shelf = Store(tmp_path)
    shelf.path("T", "k").write_text(content)
    assert shelf.get("T", "k") is None
    shelf.put({"task": "T", "key": "k", "score": 0.25})
    assert shelf.get("T", "k")["score"] == 0.25


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "0.5", True])
def test_only_finite_numbers_are_kept(tmp_path, value):
    with pytest.raises(ValueError, match="finite"):
        Store(tmp_path).put({"task": "T", "key": "k", "score": value})
    assert list(tmp_path.iterdir()) == []


def test_a_broken_record_is_scored_again(task, tmp_path):
    off = ScoringParams(instructions="off")
    first = score(CountingEmbedder(), [task], tmp_path / "out", params=off, progress=False)
    record = next((tmp_path / "out" / "store").glob("*.json"))
    record.write_text(record.read_text()[:100])
    embedder = CountingEmbedder()
    second = score(embedder, [task], tmp_path / "out", params=off, progress=False)
    assert embedder.texts and first.equals(second)
