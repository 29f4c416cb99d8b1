"""The embedder as mteb sees it: instructions, one encoding per distinct text, finite numbers, exact search.

mteb's own search keeps heaps in Python, and a restart encodes MSMARCO (8.8 million passages) again. Here a large corpus
goes into one float16 file that survives a kill, is shared by tasks over the same corpus (FEVER and ClimateFEVER), and
is searched by blocks of matrix products. Small corpora stay in float32 in memory. Both are exact.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from mteb._create_dataloaders import create_dataloader
from mteb.abstasks.abstask import get_abstask_prompt
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType

from lib.common.files import KitError, read_json, write_json, writing

CACHE = 2 << 30  # bytes of vectors that are kept in memory
LARGE = 200_000  # documents from which a corpus is streamed to disk
BLOCK = 8192  # documents encoded, written and searched at a time
# mteb has no prompt for the twelve parts of CQADupstackRetrieval; this is E5's
CQADUPSTACK = "Given a question, retrieve detailed question descriptions from Stackexchange "
CQADUPSTACK += "that are duplicates to the given question"


def instruction_of(task_metadata, side: PromptType | None, mode: str = "everything") -> str:
    """Return the instruction for one side of a task ("" for none): the set's own, else that of its type.

    ``mode``: "off", "queries" (of retrieval and reranking), or "everything" (also texts of tasks without documents).
    """
    name, prompt = task_metadata.name, task_metadata.prompt
    if mode == "off" or side == PromptType.document or (mode == "queries" and side is None):
        return ""
    if prompt is None and name.startswith("CQADupstack"):
        return CQADUPSTACK
    if isinstance(prompt, dict):
        return prompt.get((side or PromptType.query).value, "")
    return prompt or get_abstask_prompt(name)


class MtebEncoder(AbsEncoder):
    """One embedder with one adapter, named uniquely by ``name`` and ``revision``, ready for mteb's tasks.

    ``encoded`` counts the texts; ``on_texts`` is called at each step. ``streamed``: the files of large corpora.
    """

    def __init__(self, embedder, name="kit/model", revision="unset", mode="off", corpus_dir: str | Path = "corpora"):
        self.embedder, self.mode, self.corpus_dir = embedder, mode, Path(corpus_dir)
        meta = {"name": name, "revision": revision, "similarity_fn_name": ScoringFunction.COSINE}
        self.mteb_model_meta = ModelMeta.create_empty(meta)
        self.encoded, self.on_texts, self.streamed = 0, lambda: None, []
        self._kept: dict[bytes, np.ndarray] = {}

    # ── vectors ──────────────────────────────────────────────────────────────────────────────────────────────
    def encode(self, inputs, *, task_metadata, prompt_type: PromptType | None = None, **kwargs) -> np.ndarray:
        """Return the vectors of a loader's texts, (n, d) float32, rows in input order (mteb calls this)."""
        return self.vectors(texts_of(inputs), instruction_of(task_metadata, prompt_type, self.mode), task_metadata.name)

    def vectors(self, texts: list[str], instruction: str = "", task: str = "", keep: bool = True) -> np.ndarray:
        """Return the vectors of ``texts``, (n, d) float32; each distinct text is encoded once, unless ``keep`` is off.

        Raises KitError when a vector holds NaN or infinity: mteb would rank and store it without a word.
        """
        keys = [hashlib.blake2b(f"{instruction}\0{text}".encode(), digest_size=16).digest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._kept}
        new = dict(sorted(new.items(), key=lambda one: -len(one[1])))  # similar lengths together: less padding
        made = {}
        if new:
            found = np.asarray(self.embedder.encode(list(new.values()), instruction=instruction), np.float32)
            if len(bad := np.flatnonzero(~np.isfinite(found).all(axis=1))):
                raise KitError(
                    f"{len(bad)} of {len(new)} embeddings hold NaN or infinity in {task} "
                    f"(first text: {list(new.values())[bad[0]][:60]!r}); train again with a lower rate"
                )
            made = dict(zip(new, found, strict=True))
            self.encoded += len(new)
            self.on_texts()
        out = np.stack([made[key] if key in made else self._kept[key] for key in keys])
        if keep and (len(self._kept) + len(made)) * out[0].nbytes <= CACHE:
            self._kept.update(made)
        return out

    # ── search ───────────────────────────────────────────────────────────────────────────────────────────────
    def index(self, corpus, **kwargs) -> None:
        """Take the corpus (mteb calls this before ``search``); it is encoded when it is searched."""
        self._corpus = corpus

    def search(
        self, queries, *, task_metadata, top_k: int, top_ranked: dict | None = None, **kwargs
    ) -> dict[str, dict]:
        """Return {query id: {document id: cosine}} for the ``top_k`` documents, or for the given candidates.

        Raises KitError when a reranking task comes without candidates: mteb would search the whole corpus instead.
        """
        name = task_metadata.name
        if task_metadata.type == "Reranking" and not top_ranked:
            raise KitError(f"{name} has lost its candidates; put all its files (`hf download`) into scoring.data_dir")
        instruction = instruction_of(task_metadata, PromptType.query, self.mode)
        asked = _unit(self.vectors(query_texts(queries, task_metadata), instruction, name))
        wanted, ids = ([str(i) for i in table["id"][:]] for table in (queries, self._corpus))
        if len(ids) < LARGE:
            vectors = _unit(self.vectors(document_texts(self._corpus[:]), "", name))
        else:
            vectors = self._streamed(name)
        if top_ranked is None:
            nearest = zip(wanted, *top_rows(asked, vectors, min(top_k, len(ids)), BLOCK), strict=True)
            return {query: {ids[i]: float(s) for i, s in zip(*found, strict=True)} for query, *found in nearest}
        results, row_of = {}, {i: row for row, i in enumerate(ids)}
        for query, vector in zip(wanted, asked, strict=True):
            candidates = list(top_ranked.get(query) or [])
            scores = np.asarray(vectors[[row_of[i] for i in candidates]], dtype=np.float32) @ vector
            order = np.argsort(-scores, kind="stable")[:top_k]
            results[query] = {candidates[i]: float(scores[i]) for i in order}
        return results

    def _streamed(self, task: str) -> np.ndarray:
        """Fill (or finish, or just open) the float16 file of this corpus and return it as a memory map."""
        count, corpus = len(self._corpus), hashlib.sha256()
        for start in range(0, count, BLOCK):
            for text in document_texts(self._corpus[start : start + BLOCK]):
                corpus.update(f"{len(text)}:{text}".encode())
        key = f"{self.mteb_model_meta.revision} {corpus.hexdigest()}"
        path = self.corpus_dir / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.f16"
        state = path.with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.streamed += [path, state]
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


def _reserved(path: Path, shape: tuple[int, int]) -> np.memmap:
    """Return a new float16 file as a memory map, its space taken now: a disk full later would kill the process."""
    with writing(path), open(path, "wb") as handle:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle.fileno(), 0, 2 * shape[0] * shape[1])
    return np.memmap(path, np.float16, "r+" if path.stat().st_size else "w+", shape=shape)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def top_rows(queries: np.ndarray, corpus: np.ndarray, k: int, block: int = BLOCK) -> tuple[np.ndarray, np.ndarray]:
    """Return (rows, scores), both (q, k), of the k largest inner products, largest first; equal scores by row.

    ``queries`` (q, d) float32, ``corpus`` (n, d) of any float type, read ``block`` rows at a time. Exact: every row is
    compared, on the GPU if there is one.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    asked = torch.from_numpy(np.ascontiguousarray(queries, np.float32)).to(device)
    best = torch.empty(len(asked), 0, device=device)
    found = torch.empty(len(asked), 0, dtype=torch.int32, device=device)
    for start in range(0, len(corpus), block):
        part = torch.from_numpy(np.array(corpus[start : start + block], np.float32)).to(device)
        number = torch.arange(start, start + len(part), dtype=torch.int32, device=device).expand(len(asked), -1)
        best, found = torch.cat([best, asked @ part.T], 1), torch.cat([found, number], 1)
        if best.shape[1] > k:
            best, place = best.topk(k, dim=1)
            found = found.gather(1, place)
    rows, scores = found.cpu().numpy(), best.cpu().numpy()
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


# ── texts as mteb writes them ────────────────────────────────────────────────────────────────────────────────
def texts_of(inputs) -> list[str]:
    """Return the texts of mteb's loader or a data set, by column where it has one (a row at a time costs 50 us)."""
    data = getattr(inputs, "dataset", inputs)
    texts = data["text"][:] if "text" in getattr(data, "column_names", ()) else [None]
    if all(isinstance(text, str) for text in texts):
        return list(texts)
    return [text for batch in inputs for text in batch["text"]]


def document_texts(columns: dict[str, list]) -> list[str]:
    """Return title and text joined by one space, stripped, as mteb does."""
    titles = columns.get("title") or [""] * len(columns["text"])
    pairs = zip(titles, columns["text"], strict=True)
    return [f"{title} {text}".strip() if title else text.strip() for title, text in pairs]


def query_texts(queries, task_metadata) -> list[str]:
    """Return the queries as mteb joins them (conversations and per-query instructions included)."""
    if "instruction" in queries.column_names or not isinstance(queries[0]["text"], str):
        queries = create_dataloader(queries, task_metadata=task_metadata, prompt_type=PromptType.query)
    return texts_of(queries)
