"""Data in and out: every layout others use is read, ours comes back equal, and offline is said at once."""

import json
import time

import pandas as pd
import pytest

from lib.common.design import CODES, Triplet, write_triplets
from lib.common.files import KitError
from lib.generate.released import config_name, fetch, load_e5, load_released, public_pairs
from lib.params.data import PublicParams

GENERATOR = "LLaMA-3.1-8B-Instruct"


def made(category, n=7):
    return [
        Triplet(
            f"Find it, {category}.",
            f'query {i} "quoted" é漢',
            f"positive\n{i}",
            f"negative {i}" if i % 2 else "",
            category,
            "English",
            f"{category}-{i}",
        )
        for i in range(n)
    ]


def bare(triplets):
    return [(t.instruction, t.query, t.positive, t.negative, t.category) for t in triplets]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_what_was_released_comes_back(tmp_path, form):
    data = {category: made(category) for category in CODES}
    for category, triplets in data.items():
        folder = tmp_path / config_name(f"meta-llama/{GENERATOR}", category)
        folder.mkdir()
        if form == "jsonl":
            write_triplets(folder / "train.jsonl", triplets)
        else:
            pd.DataFrame(triplets).to_parquet(folder / "train.parquet")
        assert load_released(tmp_path, GENERATOR, category) == triplets
    sample = load_released(tmp_path, GENERATOR, "sts", n=3, seed=1)
    assert len(sample) == 3 and sample == load_released(tmp_path, GENERATOR, "sts", n=3, seed=1)
    assert [t for t in data["sts"] if t in sample] == sample  # in file order
    assert any(load_released(tmp_path, GENERATOR, "sts", 3, seed) != sample for seed in range(2, 6))


@pytest.mark.parametrize("layout", ["file", "json list", "json lines", "shards", "readme", "hyphens"])
def test_every_layout_of_the_released_form_is_read(tmp_path, layout):
    rows = [
        {"instruction": "i", "query": f"q{i}", "positive": f"p{i}", "negative": "" if i else None} for i in range(5)
    ]
    name = config_name(GENERATOR, "short_long")
    if layout == "file":
        write(tmp_path / f"{name}.jsonl", rows)
    elif layout == "json list":
        (tmp_path / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    elif layout == "json lines":
        write(tmp_path / f"{name}.json", rows)
    elif layout == "shards":
        write(tmp_path / name / "train-00000.jsonl", rows[:3])
        write(tmp_path / name / "train-00001.jsonl", rows[3:])
    elif layout == "hyphens":
        write(tmp_path / config_name(GENERATOR, "short-long") / "train.jsonl", rows)
    else:
        write(tmp_path / "data" / "eight" / "a.jsonl", rows)
        (tmp_path / "README.md").write_text(
            f"---\nconfigs:\n- config_name: {name}\n  data_files:\n"
            "  - split: train\n    path: data/eight/*.jsonl\n---\n"
        )
    found = load_released(tmp_path, GENERATOR, "short_long")
    assert bare(found) == [("i", f"q{i}", f"p{i}", "", "short_long") for i in range(5)]
    assert [t.id for t in found] == [f"sl-{i:06d}" for i in range(5)]


def test_a_file_that_two_splits_declare_is_read_once_and_an_entry_that_names_nothing_spoils_no_other(tmp_path):
    rows = [{"instruction": "i", "query": f"q{i}", "positive": f"p{i}"} for i in range(5)]
    name = config_name(GENERATOR, "short_long")
    write(tmp_path / "d" / "a.jsonl", rows[:3])
    write(tmp_path / "d" / "b.jsonl", rows[3:])
    (tmp_path / "README.md").write_text(
        f"---\nconfigs:\n- data_files: d/a.jsonl\n- config_name: other\n  data_files: null\n- config_name: {name}\n"
        "  data_files:\n  - split: test\n    path: d/b.jsonl\n  - split: train\n    path: d/*.jsonl\n---\n"
    )
    assert [t.query for t in load_released(tmp_path, GENERATOR, "short_long")] == ["q0", "q1", "q2", "q3", "q4"]


def test_a_folder_whose_name_ends_like_a_file_is_no_file(tmp_path):
    folder = tmp_path / config_name(GENERATOR, "sts") / "train.parquet"
    folder.mkdir(parents=True)
    pd.DataFrame(made("sts")).to_parquet(folder / "part-0000.parquet")
    assert load_released(tmp_path, GENERATOR, "sts") == made("sts")


def test_what_is_not_there_is_said_with_what_is(tmp_path):
    write_triplets(tmp_path / config_name(GENERATOR, "sts") / "train.jsonl", made("sts"))
    with pytest.raises(KitError, match="holds no synthetic_GPT_sts; it holds synthetic_LLaMA-3.1-8B-Instruct_sts"):
        load_released(tmp_path, "GPT", "sts")
    (tmp_path / "empty").mkdir()
    with pytest.raises(KitError, match="holds no data set at all; it holds no .jsonl, .json, .parquet file"):
        load_e5(tmp_path / "empty")


def e5(folder):
    write(
        folder / "nq.jsonl",
        [{"query": f"nq{i}", "positive": [f"pos{i}", "more"], "negative": [f"neg{i}", "x"]} for i in range(60)],
    )
    write(folder / "fever.jsonl", [{"query": f"fever{i}", "positive": f"p{i}", "negative": f"n{i}"} for i in range(30)])
    write(
        folder / "own.jsonl",
        [{"query": ["Do this.", f"own{i}"], "positive": f"p{i}", "negative": []} for i in range(10)],
    )
    write(folder / "sharded" / "part.jsonl", [{"query": "s", "positive": "p", "instruction": "Say so."}])
    return folder


def test_e5_data_sets_are_read_mixed_and_sampled_in_proportion(tmp_path):
    everything = load_e5(e5(tmp_path))
    assert len(everything) == 101 and {t.category for t in everything} == {"public"}
    by_id = {t.id: t for t in everything}
    assert (by_id["nq-000003"].positive, by_id["nq-000003"].negative) == ("pos3", "neg3")
    assert by_id["nq-000000"].instruction.startswith("Given a question")
    assert by_id["own-000001"].instruction == "Do this."
    assert by_id["own-000001"].negative == "" and by_id["sharded-000000"].instruction == "Say so."
    sample = load_e5(tmp_path, ("nq", "fever"), n=30, seed=4)
    assert sum(t.id.startswith("nq") for t in sample) == 20 and len(sample) == 30
    assert sample == load_e5(tmp_path, ("nq", "fever"), n=30, seed=4)
    assert len({t.id.split("-")[0] for t in sample[:8]}) == 2  # mixed, not one set after the other
    given = PublicParams(source="e5", location=str(tmp_path), datasets=("fever",), n=5)
    assert len(public_pairs(given)) == 5
    with pytest.raises(KitError, match="holds no data set squad; it holds fever, nq, own, sharded"):
        load_e5(tmp_path, ("squad",))
    with pytest.raises(KitError, match="public.location is empty"):
        public_pairs(PublicParams(source="e5"))


@pytest.mark.parametrize("query", ["q", ["", "q"], [None, "q"]])
def test_a_row_without_an_instruction_or_a_negative_of_its_own_gets_the_kit_s_and_none(tmp_path, query):
    write(tmp_path / "nq.jsonl", [{"query": query, "pos": "p", "neg": [None]}])
    (found,) = load_e5(tmp_path)
    assert found.instruction.startswith("Given a question") and (found.query, found.negative) == ("q", "")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"query": "q", "positive": ', r"nq\.jsonl, line 3 is not valid JSON \(Expecting value\)"),
        ('{"query": ["Do this.", "q", "more"], "positive": "p"}', r"nq\.jsonl, line 3 has no text under 'query'"),
        ('["q", "p"]', r"nq\.jsonl, line 3 holds list, not an object"),
        ('{"query": "q", "positive": " "}', r"nq\.jsonl, line 3 has no text under 'positive'"),
        ('{"query": 4, "positive": "p"}', r"nq\.jsonl, line 3 has no text under 'query'"),
        ('{"query": "q", "positive": []}', r"nq\.jsonl, line 3 has no text under 'positive'"),
    ],
)
def test_a_malformed_line_names_file_and_line(tmp_path, line, complaint):
    good = '{"query": "q", "positive": "p"}'
    (tmp_path / "nq.jsonl").write_text(f"{good}\n\n{line}\n{good}\n")
    with pytest.raises(KitError, match=complaint):
        load_e5(tmp_path)


def test_a_broken_parquet_file_is_named(tmp_path):
    (tmp_path / "nq.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(KitError, match=r"nq\.parquet is not a readable Parquet file"):
        load_e5(tmp_path)


def test_offline_is_said_at_once(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    start = time.monotonic()
    with pytest.raises(KitError, match="neither a folder nor in the hub's cache, and https://.* does not answer"):
        load_released("jspringer/open-synthetic-embeddings", GENERATOR, "sts")
    assert time.monotonic() - start < 5  # not the 23 s of retries a file costs otherwise
    with pytest.raises(KitError, match="there is no folder .*, and it is no name of a hub data set"):
        fetch("no/such/folder/here")


def test_the_hub_is_asked_for_one_configuration_only(tmp_path, monkeypatch):
    import huggingface_hub

    write_triplets(tmp_path / config_name(GENERATOR, "sts") / "train.jsonl", made("sts"))
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setattr("lib.generate.released.online", lambda: True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load_released("owner/data", GENERATOR, "sts") == made("sts")
    assert asked["name"] == "owner/data" and asked["repo_type"] == "dataset" and not asked["local_files_only"]
    assert any(config_name(GENERATOR, "sts") in pattern for pattern in asked["allow_patterns"])
