"""Exact retrieval over corpora of any size: vectors streamed to disk as float16, top-k found block by block.

mteb encodes 50,000 documents at a time and keeps heaps in Python. MSMARCO (8.8 million passages) is then encoded
again for every restart. Here a large corpus goes into one float16 file that survives a kill, is shared by tasks
over the same corpus (FEVER and ClimateFEVER), and is searched by blocks of matrix products. Small corpora stay in
float32 in memory. Both are exact: every document is compared with every query.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from mteb.types import PromptType

from lib.common.files import KitError, read_json, write_json, writing

BLOCK = 8192


class CorpusSearch:
    """mteb's search protocol (``index`` and ``search``) over ``self.vectors`` of the encoder that inherits this."""

    def __init__(self, corpus_dir: str | Path = "corpora", large_corpus: int = 200_000):
        self.corpus_dir, self.large_corpus = Path(corpus_dir), large_corpus
        self._corpus = None
        self._files: list[Path] = []

    def index(self, corpus, **kwargs) -> None:
        """Take the corpus (mteb calls this before ``search``); it is encoded when it is searched."""
        self._corpus = corpus

    def search(
        self, queries, *, task_metadata, top_k: int, top_ranked: dict[str, list[str]] | None = None, **kwargs
    ) -> dict[str, dict[str, float]]:
        """Return {query id: {document id: cosine}} for the ``top_k`` documents, or for the given candidates.

        Raises KitError when a reranking task comes without candidates: mteb would search the whole corpus instead.
        """
        name = task_metadata.name
        if task_metadata.type == "Reranking" and not top_ranked:
            raise KitError(
                f"{name} has lost its candidates (top_ranked); fetch the whole set with `hf download` and name the "
                "folder in scoring.data_dir"
            )
        texts = query_texts(queries, task_metadata, kwargs.get("num_proc"))
        asked = _unit(self.vectors(texts, self.instructions.of(task_metadata, PromptType.query), name))
        wanted, ids = ([str(i) for i in table["id"][:]] for table in (queries, self._corpus))
        if len(set(ids)) < len(ids):
            raise KitError(f"the corpus of {name} holds a document id twice; give each document its own")
        if len(ids) < self.large_corpus:
            vectors = _unit(self.vectors(document_texts(self._corpus[:]), "", name))
        else:
            vectors = self._streamed(name)
        if top_ranked is not None:
            return _rerank(asked, vectors, wanted, ids, top_ranked, top_k)
        rows, scores = top_rows(asked, vectors, min(top_k, len(ids)), BLOCK)
        return {
            query: {ids[row]: float(score) for row, score in zip(rows[i], scores[i], strict=True)}
            for i, query in enumerate(wanted)
        }

    def _streamed(self, task: str) -> np.ndarray:
        """Fill (or finish, or just open) the float16 file of this corpus and return it as a memory map."""
        count = len(self._corpus)
        key = f"{self.mteb_model_meta.revision} {_corpus_digest(self._corpus)}"
        path = self.corpus_dir / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.f16"
        state = path.with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files += [path, state]
        done = read_json(state) if state.exists() and path.exists() else {"rows": 0}
        matrix = np.memmap(path, np.float16, "r+", shape=(count, done["dim"])) if done["rows"] else None
        for start in range(done["rows"], count, BLOCK):
            stop = min(start + BLOCK, count)
            block = _unit(self.vectors(document_texts(self._corpus[start:stop]), "", task, keep=False))
            if matrix is None:
                matrix = _reserved(path, (count, block.shape[1]))
            matrix[start:stop] = block
            matrix.flush()
            write_json(state, {"rows": stop, "dim": int(block.shape[1])})
        return matrix

    def drop_corpora(self) -> None:
        """Delete the files that this encoder streamed (as large as the corpora; the scores no longer need them)."""
        for path in self._files:
            path.unlink(missing_ok=True)
        self._files = []


def _reserved(path: Path, shape: tuple[int, int]) -> np.memmap:
    """Return a new float16 file as a memory map, its space taken now: a disk full later would kill the process."""
    with writing(path), open(path, "wb") as handle:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle.fileno(), 0, 2 * shape[0] * shape[1])
    return np.memmap(path, np.float16, "r+" if path.stat().st_size else "w+", shape=shape)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _corpus_digest(corpus) -> str:
    hasher = hashlib.sha256()
    for start in range(0, len(corpus), BLOCK):
        for text in document_texts(corpus[start : start + BLOCK]):
            hasher.update(f"{len(text)}:{text}".encode())
    return hasher.hexdigest()


def document_texts(columns: dict[str, list]) -> list[str]:
    """Return title and text joined by one space, stripped, as mteb does."""
    titles = columns.get("title") or [""] * len(columns["text"])
    pairs = zip(titles, columns["text"], strict=True)
    return [f"{title} {text}".strip() if title else text.strip() for title, text in pairs]


def query_texts(queries, task_metadata, num_proc: int | None = None) -> list[str]:
    """Return the queries as mteb joins them (conversations and per-query instructions included)."""
    texts = queries["text"][:]
    if "instruction" not in queries.column_names and all(isinstance(text, str) for text in texts):
        return list(texts)
    from mteb._create_dataloaders import create_dataloader

    loader = create_dataloader(queries, task_metadata=task_metadata, prompt_type=PromptType.query, num_proc=num_proc)
    return [text for batch in loader for text in batch["text"]]


def top_rows(queries: np.ndarray, corpus: np.ndarray, k: int, block: int = BLOCK) -> tuple[np.ndarray, np.ndarray]:
    """Return (rows, scores), both (q, k), of the k largest inner products, largest first; equal scores by row.

    ``queries`` (q, d) float32, ``corpus`` (n, d) of any float type, read ``block`` rows at a time, on the GPU if
    there is one. Exact: every row is compared.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, scores = [], []
    for first in range(0, len(queries), 4096):
        asked = torch.from_numpy(np.ascontiguousarray(queries[first : first + 4096], np.float32)).to(device)
        best = torch.empty(len(asked), 0, device=device)
        found = torch.empty(len(asked), 0, dtype=torch.int64, device=device)
        for start in range(0, len(corpus), block):
            part = torch.from_numpy(np.array(corpus[start : start + block], np.float32)).to(device)
            number = torch.arange(start, start + len(part), device=device).expand(len(asked), -1)
            best, found = torch.cat([best, asked @ part.T], 1), torch.cat([found, number], 1)
            if best.shape[1] > k:
                best, place = best.topk(k, dim=1)
                found = found.gather(1, place)
        rows.append(found.cpu().numpy())
        scores.append(best.cpu().numpy())
    rows, scores = np.concatenate(rows), np.concatenate(scores)
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


def _rerank(
    asked: np.ndarray, vectors: np.ndarray, wanted: list[str], ids: list[str], top_ranked: dict, top_k: int
) -> dict[str, dict[str, float]]:
    row_of = {i: row for row, i in enumerate(ids)}
    results = {}
    for query, vector in zip(wanted, asked, strict=True):
        candidates = list(top_ranked.get(query) or [])
        scores = np.asarray(vectors[[row_of[i] for i in candidates]], dtype=np.float32) @ vector
        order = np.argsort(-scores, kind="stable")[:top_k]
        results[query] = {candidates[i]: float(scores[i]) for i in order}
    return results
