"""The embedder as mteb sees it: instructions, one encoding per distinct text, finite numbers, exact search.

mteb calls ``encode`` for single tasks and ``index``/``search`` for retrieval. Nothing here depends on
sentence-transformers, whose import costs more than scoring a small suite.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType

from lib.common.files import KitError
from lib.score.search import CorpusSearch

SYMMETRIC = ("STS", "PairClassification", "Clustering", "Classification", "Summarization", "BitextMining")

CQADUPSTACK = (
    "Given a question, retrieve detailed question descriptions from Stackexchange "
    "that are duplicates to the given question"
)


class Instructions:
    """Which instruction a text gets: E5's rule is one per task, on queries only where there are documents.

    ``mode``: "off" (none), "queries" (retrieval and reranking queries only), or "everything" (also every text of
    the other tasks, both sides of a pair alike, as E5 does). ``overrides`` maps task names to instructions.
    """

    def __init__(self, mode: str = "everything", overrides: dict[str, str] | None = None):
        self.mode, self.overrides = mode, dict(overrides or {})

    def of(self, task_metadata, prompt_type: PromptType | None) -> str:
        """Return the instruction for one side of a task ("" for none)."""
        if self.mode == "off" or prompt_type == PromptType.document:
            return ""
        if self.mode == "queries" and prompt_type is None:
            return ""
        if task_metadata.name in self.overrides:
            return self.overrides[task_metadata.name]
        if task_metadata.prompt is None and task_metadata.name.startswith("CQADupstack"):
            return CQADUPSTACK
        return _from_metadata(task_metadata, prompt_type)


def _from_metadata(task_metadata, prompt_type: PromptType | None) -> str:
    """mteb's own order: the set's instruction, else that of its type."""
    from mteb.abstasks.abstask import get_abstask_prompt

    prompt = task_metadata.prompt
    if isinstance(prompt, dict):
        return prompt.get((prompt_type or PromptType.query).value, "")
    return prompt or get_abstask_prompt(task_metadata.name)


class MtebEncoder(CorpusSearch, AbsEncoder):
    """One embedder with one adapter, ready for mteb's tasks.

    ``name`` and ``revision`` say which adapter and settings these are; no two may share them. Texts are encoded
    once: vectors are kept up to ``cache_bytes``. ``on_texts`` is called with the number of texts done.
    """

    def __init__(
        self,
        embedder,
        name: str = "kit/model",
        revision: str = "unset",
        instructions: Instructions | None = None,
        batch_tokens: int | None = None,
        cache_bytes: int = 2 << 30,
        on_texts=None,
        **search,
    ):
        super().__init__(**search)
        self.embedder, self.instructions = embedder, instructions or Instructions("off")
        self.batch_tokens, self.cache_bytes, self.on_texts = batch_tokens, cache_bytes, on_texts
        self.mteb_model_meta = ModelMeta.create_empty(
            {"name": name, "revision": revision, "similarity_fn_name": ScoringFunction.COSINE}
        )
        self.encoded = self.asked = 0
        self._rows: dict[bytes, int] = {}
        self._blocks: list[np.ndarray] = []
        self._starts: list[int] = [0]

    def encode(
        self,
        inputs,
        *,
        task_metadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Return the vectors of a loader's texts, (n, d) float32, rows in input order (mteb calls this)."""
        return self.vectors(texts_of(inputs), self.instructions.of(task_metadata, prompt_type), task_metadata.name)

    def vectors(self, texts: list[str], instruction: str = "", task: str = "", keep: bool = True) -> np.ndarray:
        """Return the vectors of ``texts``, (n, d) float32; each distinct text is encoded once.

        Raises KitError when a vector holds NaN or infinity: mteb would rank and store it without a word.
        """
        keys = [hashlib.blake2b(f"{instruction}\0{text}".encode(), digest_size=16).digest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._rows}
        self.asked += len(texts)
        fresh = np.zeros((0, 0), np.float32)
        if new:
            fresh = self._encode_new(list(new.values()), instruction, task)
            if len(new) == len(texts) and not (keep and self._room(fresh)):
                return fresh
        if keep and self._room(fresh):
            self._remember(list(new), fresh)
            return self._gather([self._rows[key] for key in keys], fresh)
        place = {key: row for row, key in enumerate(new)}
        return np.stack([fresh[place[key]] if key in place else self._row(self._rows[key]) for key in keys])

    def _encode_new(self, texts: list[str], instruction: str, task: str) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))  # similar lengths together: less padding
        found = np.asarray(
            self.embedder.encode([texts[i] for i in order], batch_tokens=self.batch_tokens, instruction=instruction)
        )
        if found.ndim != 2 or len(found) != len(texts):
            raise KitError(
                f"the embedder returned an array of shape {found.shape} for {len(texts)} texts; it must be (n, d)"
            )
        bad = ~np.isfinite(found).all(axis=1)
        if bad.any():
            example = texts[order[int(np.flatnonzero(bad)[0])]]
            raise KitError(
                f"{int(bad.sum())} of {len(texts)} embeddings hold NaN or infinity"
                f"{f' in {task}' if task else ''} (first text: {example[:60]!r}); train again with a lower rate"
            )
        self.encoded += len(texts)
        if self.on_texts:
            self.on_texts(len(texts))
        out = np.empty_like(found, dtype=np.float32)
        out[order] = found
        return out

    def _room(self, fresh: np.ndarray) -> bool:
        return sum(block.nbytes for block in self._blocks) + fresh.nbytes <= self.cache_bytes

    def _remember(self, keys: list[bytes], fresh: np.ndarray) -> None:
        if keys:
            start = self._starts[-1]
            self._rows.update(zip(keys, range(start, start + len(keys)), strict=True))
            self._blocks.append(fresh)
            self._starts.append(start + len(keys))

    def _row(self, row: int) -> np.ndarray:
        block = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._blocks[block][row - self._starts[block]]

    def _gather(self, rows: list[int], fresh: np.ndarray) -> np.ndarray:
        first = self._starts[-1] - len(fresh)
        if fresh.size and rows == list(range(first, first + len(fresh))):
            return fresh.copy()
        return np.stack([self._row(row) for row in rows])


def texts_of(inputs) -> list[str]:
    """Return the texts of mteb's loader, by column when it wraps a plain data set (a row at a time costs 50 us)."""
    data = getattr(inputs, "dataset", None)
    if data is not None and "text" in getattr(data, "column_names", ()):
        texts = data["text"][:]
        if all(isinstance(text, str) for text in texts):
            return list(texts)
    return [text for batch in inputs for text in batch["text"]]
