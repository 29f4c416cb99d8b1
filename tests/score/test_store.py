"""The store finds a score again only when everything that could move it is the same."""

import json

import pytest
from scoring_kit import CountingEmbedder, lines, rows_of, write_set

from lib.common.files import digest
from lib.params.model import ScoringParams
from lib.score import suites, taskrun
from lib.score.score import score
from lib.score.taskrun import stored, task_key


@pytest.fixture
def task(tmp_path):
    write_set(tmp_path / "sets", "STS")
    return suites.tasks(str(tmp_path / "sets"))[0]


def test_the_key_moves_with_whatever_moves_a_score(task, tmp_path, monkeypatch):
    keys = {task_key(task, "adapter A", {"length": 512})}
    keys.add(task_key(task, "adapter B", {"length": 512}))
    keys.add(task_key(task, "adapter A", {"length": 256}))
    monkeypatch.setattr(taskrun, "package_versions", lambda: {"mteb": "9.9"})
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

    folder = str(task.spec["files"][0].parent)
    code = (
        "import sys; from lib.score import suites; from lib.score.taskrun import task_key; "
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


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"task": "T", "score": null}', '{"score": 1, "digest": "0"}'])
def test_half_and_foreign_records_are_not_there(tmp_path, content):
    path, record = tmp_path / "T.k.json", {"task": "T", "key": "k", "score": 0.25}
    path.write_text(content)
    assert stored(path) is None and stored(tmp_path / "none.json") is None
    path.write_text(json.dumps({**record, "digest": digest(record)}))
    assert stored(path) == record


def test_a_broken_record_is_scored_again(task, tmp_path):
    off = ScoringParams(instructions="off")
    first = score(CountingEmbedder(), [task], tmp_path / "out", params=off, progress=False)
    record = next((tmp_path / "out" / "store").glob("*.json"))
    record.write_text(record.read_text()[:100])
    embedder = CountingEmbedder()
    second = score(embedder, [task], tmp_path / "out", params=off, progress=False)
    assert embedder.texts and first.equals(second)
