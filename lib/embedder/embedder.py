"""The embedder: a base model, its LoRA adapter, pooling, and ``encode``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lib.common.display import bar
from lib.common.files import KitError, digest
from lib.embedder import adapters
from lib.embedder.basemodel import BERTS, DECODERS, Source, load_base, resolve
from lib.embedder.forward import embed_rows
from lib.embedder.packing import Rows, distinct, micro_batches, tokenize
from lib.params.params import ModelParams

ADAPTER = "default"  # peft's own name for an adapter that nobody named
CPU_TOKENS, GPU_TOKENS = 1024, 65536  # per batch; measured: on a processor larger ones leave the cache
CHUNK = 50_000  # texts tokenised at a time when encoding


class Embedder:
    """Texts to vectors. ``model`` is the HF model (inside peft once there is an adapter), ``dim`` its width."""

    def __init__(self, model, tokenizer, params: ModelParams, source: Source | None = None):
        family = model.config.model_type
        if family not in DECODERS + BERTS:
            raise KitError(f"model.name is of the family {family!r}; known are {', '.join(DECODERS + BERTS)}")
        self.params, self.tokenizer, self.source = params, tokenizer, source
        self.model = self.core = model.eval().requires_grad_(False)
        self.causal, self.family = family in DECODERS, family
        self.dim: int = model.config.hidden_size
        self.pad: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self.eos = _eos(tokenizer, params)
        self._active: str | None = None

    @classmethod
    def from_params(cls, params: ModelParams, adapter: str | Path | None = None, device: str | None = None) -> Embedder:
        """Load the base that ``params.name`` names, and an adapter folder if one is given.

        ``device`` defaults to the GPU if there is one. Raises KitError for a model that is not there, of a family
        that is not known, or that an adapter does not fit.
        """
        source = resolve(params)
        embedder = cls(*load_base(source, params, device), params, source)
        if adapter is not None:
            embedder.load_adapter(adapter)
        return embedder

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.core.parameters()).device

    # ── texts to rows of token ids ───────────────────────────────────────────────────────────────────────
    def text_of(self, text: str, instruction: str = "", document: bool = False) -> str:
        """Return the text as the model reads it: with its instruction, or as a document, by the templates."""
        template = self.params.query_template if instruction and not document else self.params.document_template
        if not template:
            return text
        head, found, tail = template.partition("{text}")  # by hand: texts may hold braces
        if not found:
            raise KitError(f"template {template!r} has no place for the text; it needs {{text}}")
        return head.replace("{instruction}", instruction) + text + tail.replace("{instruction}", instruction)

    def tokenize(self, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        """Return token ids per text, cut to ``max_length`` (default ``params.max_length``), ended as pooling needs."""
        return tokenize(self.tokenizer, texts, max_length or self.params.max_length, self.eos)

    # ── rows to vectors ──────────────────────────────────────────────────────────────────────────────────
    def embed(self, rows: Rows, attention: str = "padded") -> torch.Tensor:
        """Return (n, dim) fp32 embeddings of token ids, with gradients where they are enabled.

        ``attention`` is "padded" or "ragged", the same function by two ways (``lib.embedder.forward``).
        """
        return embed_rows(self, rows, attention)

    def encode(
        self, texts: Sequence[str], batch_tokens: int | None = None, progress: bool = False, instruction: str = ""
    ) -> np.ndarray:
        """Return (n, dim) float32 embeddings, rows in input order; each distinct text is computed once.

        ``batch_tokens`` bounds rows x longest row of a batch. Raises KitError for vectors that are not finite.
        """
        return self.encode_written([self.text_of(text, instruction) for text in texts], batch_tokens, progress)

    def encode_written(
        self, texts: Sequence[str], batch_tokens: int | None = None, progress: bool = False
    ) -> np.ndarray:
        """Return embeddings as ``encode`` does, of texts that are as the model reads them (see ``text_of``)."""
        unique, index = distinct(texts)
        budget = batch_tokens or self.params.encode_tokens
        budget = budget or (CPU_TOKENS if self.device.type == "cpu" else GPU_TOKENS)
        out = np.empty((len(unique), self.dim), np.float32)
        with bar(total=len(unique), disable=not progress, desc="encode", unit="text", leave=False) as shown:
            for start in range(0, len(unique), CHUNK):
                rows = self.tokenize(unique[start : start + CHUNK])
                out[start : start + len(rows)] = self._encode_rows(rows, budget, shown)
        bad = np.flatnonzero(~np.isfinite(out).all(axis=1))
        if len(bad):
            raise KitError(
                f"{len(bad)} embeddings hold NaN or infinity (first text: {unique[bad[0]][:60]!r}); "
                "train again with a lower training.learning_rate or use model.dtype float32"
            )
        return out if len(unique) == len(texts) else out[index]

    def _encode_rows(self, rows: Rows, budget: int, shown) -> np.ndarray:
        found, order = [], []
        self.model.eval()
        with torch.inference_mode():
            for batch in micro_batches([len(row) for row in rows], budget):
                found.append(self.embed([rows[i] for i in batch.rows]))
                order += batch.rows
                shown.update(len(batch.rows))
            together = torch.cat(found)
            out = torch.empty_like(together)
            out[torch.tensor(order, device=together.device)] = together
            return out.cpu().numpy()

    # ── adapters ─────────────────────────────────────────────────────────────────────────────────────────
    def attach_lora(self, seed: int = 0) -> None:
        """Add a fresh LoRA adapter as the parameters of ``model`` say, its start drawn from ``seed``."""
        self._drop_adapters()
        self.model, self._active = adapters.fresh_adapter(self.core, self.params, seed), ADAPTER

    def load_adapter(self, path: str | Path) -> None:
        """Load a peft adapter folder and make it the active one (another that was loaded before is dropped).

        Raises KitError when the folder holds no adapter, or one for another base.
        """
        self._drop_adapters()
        self.model = adapters.load_adapter(self.core, Path(path), self.portable_name)
        self.model.eval().requires_grad_(False)
        self._active = ADAPTER

    def set_adapter(self, name: str | None) -> None:
        """Switch the adapter off (None: the plain base) or on again."""
        if self.model is not self.core:
            layers = self.model.base_model
            layers.disable_adapter_layers() if name is None else layers.enable_adapter_layers()
        elif name is not None:
            raise KitError("no adapter is loaded; call load_adapter with the folder of a trained one")
        self._active = name

    def save_adapter(self, folder: str | Path) -> None:
        """Write the adapter as plain peft reads it; the base is named by its public name, not by a machine's path."""
        adapters.save_adapter(self.model, Path(folder), self.portable_name)

    def _drop_adapters(self) -> None:
        if self.model is not self.core:
            self.core = self.model.unload()
            if hasattr(self.core, "peft_config"):
                del self.core.peft_config
        self.model, self._active = self.core, None

    # ── identity ─────────────────────────────────────────────────────────────────────────────────────────
    @property
    def portable_name(self) -> str:
        """A name for the base that means something on another machine."""
        return self.source.public if self.source is not None else Path(self.params.name).name

    def adapter_digest(self) -> str:
        """Return a digest of the active adapter's weights; "base" when none is active."""
        if self._active is None:
            return "base"
        hasher = hashlib.sha256()
        for name, weight in sorted(self.model.state_dict().items()):
            if "lora_" in name:
                hasher.update(name.encode())
                hasher.update(weight.detach().cpu().contiguous().view(-1).view(dtype=torch.uint8).numpy().tobytes())
        config = self.model.peft_config[ADAPTER]
        return digest([hasher.hexdigest(), config.r, config.lora_alpha, bool(config.use_rslora)])

    def fingerprint(self) -> str:
        """Return a digest of everything but the adapter that changes an embedding."""
        p, base = self.params, self.source.identity if self.source else self.family
        how = [p.dtype, p.pooling, p.normalize, self.eos, p.max_length, p.query_template, p.document_template]
        return digest([base, *how])


def _eos(tokenizer, params: ModelParams) -> int | None:
    """Return the id that ends every text, or None. Pooling the last token without one pools an arbitrary word."""
    if not params.append_eos:
        if params.pooling == "last":
            raise KitError("model.pooling last needs model.append_eos true: the embedding is the state of that token")
        return None
    if tokenizer.eos_token_id is None:
        raise KitError("this tokenizer has no end-of-sequence token; set model.append_eos false and model.pooling mean")
    return tokenizer.eos_token_id
