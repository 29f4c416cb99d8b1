"""What the scoring tests share: a fast stand-in embedder, tiny sets of all types, and hub-shaped folders."""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path

import numpy as np

WORDS = "ant bee cod dog elk fox gnu hen ibis jay kiwi lynx mole newt owl pig ram seal toad urchin vole wasp yak zebra"
WORDS = WORDS.split()


class CountingEmbedder:
    """Hashed words to vectors: cheap, deterministic, similar texts close. Counts what it is asked to encode."""

    dim = 64

    def __init__(self, adapter: str = "base", settings: str = "plain", salt: str = ""):
        self.adapter, self.settings, self.salt, self.texts = adapter, settings, salt, []
        self.fail = None  # called with the texts before they are encoded

    def fingerprint(self) -> str:
        return self.settings

    def adapter_digest(self) -> str:
        return self.adapter

    def encode(self, texts, progress=False, instruction=""):
        if self.fail:
            self.fail(texts)
        self.texts += [(instruction, text) for text in texts]
        return np.stack([self.vector(f"{instruction} {text}") for text in texts])

    def vector(self, text: str) -> np.ndarray:
        total = np.zeros(self.dim, np.float32)
        for word in text.lower().split():
            total += (
                np.random.default_rng(zlib.crc32(f"{self.salt}{word}".encode()))
                .standard_normal(self.dim)
                .astype(np.float32)
            )
        return total / max(np.linalg.norm(total), 1e-6)


def sentence(rng: random.Random, topic: int, length: int = 6) -> str:
    """A sentence about one of eight topics, most words its own."""
    own = WORDS[topic * 3 : topic * 3 + 3]
    return (
        " ".join(rng.choice(own if rng.random() < 0.6 else WORDS) for _ in range(length)) + f" {rng.randrange(10**6)}"
    )


def lines(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(kind: str, seed: int = 0) -> list[dict] | dict[str, list[dict]]:
    """Rows of a tiny set in the kit's own form."""
    rng = random.Random(f"{kind} {seed}")
    if kind == "Classification":
        return [
            {"text": sentence(rng, i % 4), "label": f"t{i % 4}", "split": "train" if i < 48 else "test"}
            for i in range(80)
        ]
    if kind == "Clustering":
        return [{"text": sentence(rng, i % 4), "label": f"t{i % 4}"} for i in range(60)]
    if kind == "PairClassification":
        return [
            {"sentence1": sentence(rng, i % 8), "sentence2": sentence(rng, (i + (i % 2) * 3) % 8), "label": 1 - i % 2}
            for i in range(40)
        ]
    if kind == "STS":
        return [
            {
                "sentence1": sentence(rng, i % 8),
                "sentence2": sentence(rng, (i + i % 3) % 8),
                "score": 5.0 - 2 * (i % 3) + rng.random(),
            }
            for i in range(40)
        ]
    if kind == "BitextMining":
        firsts = [sentence(rng, i % 8) for i in range(40)]
        return [
            {"sentence1": a, "sentence2": " ".join([*a.split()[:2], sentence(rng, i % 8, 4)])}
            for i, a in enumerate(firsts)
        ]
    if kind == "Reranking":
        return [
            {
                "query": sentence(rng, i % 8),
                "positive": [sentence(rng, i % 8) for _ in range(2)],
                "negative": [sentence(rng, (i + k) % 8) for k in (1, 2, 3, 4)],
            }
            for i in range(12)
        ]
    if kind == "Summarization":
        return [
            {
                "text": sentence(rng, i % 8, 20),
                "human_summaries": [sentence(rng, i % 8) for _ in range(2)],
                "machine_summaries": [sentence(rng, (i + k) % 8) for k in range(4)],
                "relevance": [4.5, 3.0 + rng.random(), 2.0, 1.0],
            }
            for i in range(10)
        ]
    return {
        "corpus": [
            {"_id": f"d{i}", "title": "note" if i % 2 else "", "text": sentence(rng, i % 8, 12)} for i in range(48)
        ],
        "queries": [{"_id": f"q{i}", "text": sentence(rng, i % 8)} for i in range(16)],
        "qrels": [
            {"query-id": f"q{i}", "corpus-id": f"d{i + 8 * k}", "score": 1 + k} for i in range(16) for k in range(2)
        ],
    }


def write_set(folder: Path, kind: str, name: str = "", seed: int = 0, **extra) -> Path:
    """Write one set (YAML and JSON lines) and return its YAML."""
    name = name or f"My{kind}"
    rows = rows_of(kind, seed)
    parts = {"file": rows} if isinstance(rows, list) else rows
    if kind == "Clustering":
        extra = {"settings": "{max_documents_per_cluster: 256, n_clusters: 4}", **extra}
    if kind == "Classification":
        extra = {"settings": "{n_experiments: 4}", **extra}
    head = [f"type: {kind}", 'instruction: "Find the animals"', *(f"{key}: {value}" for key, value in extra.items())]
    for key, part in parts.items():
        lines(folder / f"{name}.{key}.jsonl", part)
        head.append(f"{key}: {name}.{key}.jsonl")
    path = folder / f"{name}.yaml"
    path.write_text("\n".join(head) + "\n", encoding="utf-8")
    return path


HUB = {
    "Classification": "Banking77Classification",
    "Clustering": "TwentyNewsgroupsClustering",
    "PairClassification": "SprintDuplicateQuestions",
    "Reranking": "AskUbuntuDupQuestions",
    "Retrieval": "SciFact",
    "STS": "STS12",
    "Summarization": "SummEvalSummarization.v2",
}
REPOS = {
    "Classification": "banking77",
    "Clustering": "twentynewsgroups-clustering",
    "PairClassification": "sprintduplicatequestions-pairclassification",
    "Reranking": "AskUbuntuDupQuestions",
    "Retrieval": "scifact",
    "STS": "sts12-sts",
    "Summarization": "summeval",
}


def hub_set(data_dir: Path, kind: str, seed: int = 0) -> Path:
    """Write a stand-in for one hub data set per type, in the hub's own file layout; return its folder."""
    rng = random.Random(seed)
    folder = data_dir / f"mteb__{REPOS[kind]}"
    if kind == "Classification":
        for split, count in (("train", 80), ("test", 40)):
            lines(
                folder / f"{split}.jsonl",
                [{"text": sentence(rng, i % 4), "label": i % 4, "label_text": f"t{i % 4}"} for i in range(count)],
            )
    elif kind == "Clustering":
        lines(
            folder / "test.jsonl",
            [
                {"sentences": [sentence(rng, i % 4) for i in range(40)], "labels": [f"t{i % 4}" for i in range(40)]}
                for _ in range(3)
            ],
        )
    elif kind == "PairClassification":
        rows = rows_of(kind, seed)
        lines(
            folder / "test.jsonl",
            [
                {
                    "sent1": [r["sentence1"] for r in rows],
                    "sent2": [r["sentence2"] for r in rows],
                    "labels": [r["label"] for r in rows],
                }
            ],
        )
    elif kind == "STS":
        lines(folder / "test.jsonl", rows_of(kind, seed))
    elif kind == "Summarization":
        rows = [
            {**row, "human_summaries": row["human_summaries"], "id": str(i)}
            for i, row in enumerate(rows_of(kind, seed))
        ]
        lines(folder / "test.jsonl", rows)
    else:
        _hub_retrieval(folder, rows_of(kind, seed), kind)
    return folder


def _hub_retrieval(folder: Path, rows, kind: str) -> None:
    configs = ["corpus", "queries", "default"]
    if kind == "Retrieval":
        lines(folder / "corpus" / "test.jsonl", rows["corpus"])
        lines(folder / "queries" / "test.jsonl", rows["queries"])
        lines(folder / "default" / "test.jsonl", rows["qrels"])
    else:
        corpus, qrels, top = [], [], []
        for i, row in enumerate(rows):
            ids = [f"d{i}-{k}" for k in range(6)]
            corpus += [
                {"_id": d, "title": "", "text": t} for d, t in zip(ids, row["negative"] + row["positive"], strict=True)
            ]
            qrels += [{"query-id": f"q{i}", "corpus-id": d, "score": int(k > 3)} for k, d in enumerate(ids)]
            top.append({"query-id": f"q{i}", "corpus-ids": ids})
        lines(folder / "corpus" / "test.jsonl", corpus)
        lines(folder / "queries" / "test.jsonl", [{"_id": f"q{i}", "text": row["query"]} for i, row in enumerate(rows)])
        lines(folder / "default" / "test.jsonl", qrels)
        lines(folder / "top_ranked" / "test.jsonl", top)
        configs.append("top_ranked")
    head = "".join(f"- config_name: {c}\n  data_files:\n  - split: test\n    path: {c}/test.jsonl\n" for c in configs)
    (folder / "README.md").write_text(f"---\nconfigs:\n{head}---\n", encoding="utf-8")


def naive_encoder(embedder):
    """The plain mteb encoder around the same embedder: every text every time, mteb's own search, no checks."""
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta, ScoringFunction

    class Naive(AbsEncoder):
        mteb_model_meta = ModelMeta.create_empty(
            {
                "name": "no_model_name/available",
                "revision": "no_revision_available",
                "similarity_fn_name": ScoringFunction.COSINE,
            }
        )

        def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **kwargs):
            return embedder.encode([text for batch in inputs for text in batch["text"]])

    return Naive()


def plain_mteb(tasks, embedder, folder: Path) -> dict[str, float | None]:
    """What ``mteb.evaluate`` reports of every task, with its own cache in ``folder``; failed tasks are not in it."""
    import mteb

    cache = mteb.ResultCache(folder)
    found = mteb.evaluate(naive_encoder(embedder), tasks, cache=cache, raise_error=False, show_progress_bar=False)
    return {one.task_name: one.scores["test"][0]["main_score"] for one in found.task_results}


def naive_score(task, embedder) -> float:
    """mteb's own score of one task object, nothing of ours in between."""
    task.load_data()
    scores = task.evaluate(
        naive_encoder(embedder), "test", encode_kwargs={"batch_size": 32, "show_progress_bar": False}
    )
    return float(np.mean([row["main_score"] for row in scores.values()]))
