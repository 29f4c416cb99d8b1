"""The embedder as mteb sees it: instructions, one encoding per distinct text, finite numbers, exact search.

mteb calls ``encode`` for single tasks and ``index``/``search`` for retrieval. Nothing here depends on
sentence-transformers, whose import costs more than scoring a small suite.
"""

from __future__ import annotations

import hashlib

import numpy as np
from mteb.abstasks.abstask import get_abstask_prompt
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType

from lib.common.files import KitError
from lib.score.search import CorpusSearch

# mteb has no prompt for the twelve parts of CQADupstackRetrieval; this is E5's
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

    def of(self, task_metadata, side: PromptType | None) -> str:
        """Return the instruction for one side of a task ("" for none): the set's own, else that of its type."""
        name, prompt = task_metadata.name, task_metadata.prompt
        if self.mode == "off" or side == PromptType.document or (self.mode == "queries" and side is None):
            return ""
        if name in self.overrides:
            return self.overrides[name]
        if prompt is None and name.startswith("CQADupstack"):
            return CQADUPSTACK
        if isinstance(prompt, dict):
            return prompt.get((side or PromptType.query).value, "")
        return prompt or get_abstask_prompt(name)


class MtebEncoder(CorpusSearch, AbsEncoder):
    """One embedder with one adapter, ready for mteb's tasks.

    ``name`` and ``revision`` say which adapter and settings these are; no two may share them. Texts are encoded
    once: vectors are kept up to ``cache_bytes``. ``encoded`` counts them; ``on_texts``, if set, is told each step.
    """

    def __init__(
        self,
        embedder,
        name: str = "kit/model",
        revision: str = "unset",
        instructions: Instructions | None = None,
        batch_tokens: int | None = None,
        cache_bytes: int = 2 << 30,
        **search,
    ):
        super().__init__(**search)
        self.embedder, self.instructions = embedder, instructions or Instructions("off")
        self.batch_tokens, self.cache_bytes = batch_tokens, cache_bytes
        meta = {"name": name, "revision": revision, "similarity_fn_name": ScoringFunction.COSINE}
        self.mteb_model_meta = ModelMeta.create_empty(meta)
        self.encoded, self.on_texts = 0, None
        self._kept: dict[bytes, np.ndarray] = {}

    def encode(self, inputs, *, task_metadata, prompt_type: PromptType | None = None, **kwargs) -> np.ndarray:
        """Return the vectors of a loader's texts, (n, d) float32, rows in input order (mteb calls this)."""
        return self.vectors(texts_of(inputs), self.instructions.of(task_metadata, prompt_type), task_metadata.name)

    def vectors(self, texts: list[str], instruction: str = "", task: str = "", keep: bool = True) -> np.ndarray:
        """Return the vectors of ``texts``, (n, d) float32; each distinct text is encoded once.

        Raises KitError when a vector holds NaN or infinity: mteb would rank and store it without a word.
        """
        keys = [hashlib.blake2b(f"{instruction}\0{text}".encode(), digest_size=16).digest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._kept}
        fresh = dict(zip(new, self._encode_new(list(new.values()), instruction, task), strict=True)) if new else {}
        out = np.stack([fresh[key] if key in fresh else self._kept[key] for key in keys])
        if keep and (len(self._kept) + len(fresh)) * out[0].nbytes <= self.cache_bytes:
            self._kept.update(fresh)
        return out

    def _encode_new(self, texts: list[str], instruction: str, task: str) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))  # similar lengths together: less padding
        written = [texts[i] for i in order]
        found = np.asarray(self.embedder.encode(written, batch_tokens=self.batch_tokens, instruction=instruction))
        bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(bad):
            raise KitError(
                f"{len(bad)} of {len(texts)} embeddings hold NaN or infinity{f' in {task}' if task else ''} "
                f"(first text: {written[bad[0]][:60]!r}); train again with a lower rate"
            )
        self.encoded += len(texts)
        if self.on_texts:
            self.on_texts(len(texts))
        out = np.empty_like(found, dtype=np.float32)
        out[order] = found
        return out


def texts_of(inputs) -> list[str]:
    """Return the texts of mteb's loader, by column when it wraps a plain data set (a row at a time costs 50 us)."""
    data = getattr(inputs, "dataset", None)
    if data is not None and "text" in getattr(data, "column_names", ()):
        texts = data["text"][:]
        if all(isinstance(text, str) for text in texts):
            return list(texts)
    return [text for batch in inputs for text in batch["text"]]
