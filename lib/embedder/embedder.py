"""The embedder: a base model, its LoRA adapter, pooling, and ``encode``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lib.common.bundled import bar
from lib.common.files import KitError, digest
from lib.embedder import models
from lib.embedder.packing import Rows, distinct, micro_batches, padded, ragged, ragged_attention, tokenize
from lib.kernels.pooling import pool, pool_ragged
from lib.params.model import ModelParams

ADAPTER = "default"  # peft's own name for an adapter that nobody named
CPU_TOKENS, GPU_TOKENS = 1024, 65536  # per batch; measured: on a processor larger ones leave the cache
CHUNK = 50_000  # texts tokenised at a time when encoding


class Embedder:
    """Texts to vectors. ``model`` is the HF model (inside peft once there is an adapter), ``dim`` its width."""

    def __init__(self, model, tokenizer, params: ModelParams, source: models.Source | None = None):
        family = model.config.model_type
        if family not in models.DECODERS + models.BERTS:
            known = ", ".join(models.DECODERS + models.BERTS)
            raise KitError(f"model.name is of the family {family!r}; known are {known}")
        self.params, self.tokenizer, self.source = params, tokenizer, source
        self.model = self.core = model.eval().requires_grad_(False)
        self.causal, self.family = family in models.DECODERS, family
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
        source = models.resolve(params)
        embedder = cls(*models.load_base(source, params, device), params, source)
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

        ``attention`` is "padded" or "ragged", the same function by two ways (``lib.embedder.packing``).
        """
        if self.eos is not None and any(row[-1] != self.eos for row in rows):
            raise KitError("a text does not end in the end-of-sequence token; make token ids with Embedder.tokenize")
        if attention == "ragged":
            ids, positions, offsets = ragged(rows, self.device)
            if self.family in ("roberta", "xlm-roberta"):
                positions = positions + self.core.config.pad_token_id + 1
            with ragged_attention(self.core, [len(row) for row in rows], self.causal):
                return pool_ragged(self._states(input_ids=ids, position_ids=positions), offsets, self.params.pooling)
        ids, lengths = padded(rows, self.pad, self.device)
        mask = {}
        if not self.causal and min(map(len, rows)) < ids.shape[1]:
            mask["attention_mask"] = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
        return pool(self._states(input_ids=ids, **mask), lengths, self.params.pooling)

    def _states(self, **arguments) -> torch.Tensor:
        """Return the last hidden states. No key-value cache: with one, transformers forgets packed rows."""
        output = self.core(**arguments, **({"use_cache": False} if self.causal else {}))
        if getattr(output, "past_key_values", None) is not None:
            raise KitError("the model kept a key-value cache in spite of use_cache=False: transformers changed; pin it")
        return output.last_hidden_state

    def encode(self, texts: Sequence[str], progress: bool = False, instruction: str = "") -> np.ndarray:
        """Return (n, dim) float32 embeddings, rows in input order; each distinct text is computed once.

        Raises KitError for vectors that are not finite.
        """
        return self.encode_written([self.text_of(text, instruction) for text in texts], progress)

    def encode_written(self, texts: Sequence[str], progress: bool = False) -> np.ndarray:
        """Return embeddings as ``encode`` does, of texts that are as the model reads them (see ``text_of``)."""
        unique, index = distinct(texts)
        budget = self.params.encode_tokens or (CPU_TOKENS if self.device.type == "cpu" else GPU_TOKENS)
        out = np.empty((len(unique), self.dim), np.float32)
        self.model.eval()
        with bar(total=len(unique), disable=not progress, desc="encode", unit="text", leave=False) as shown:
            for start in range(0, len(unique), CHUNK):
                rows, found, order = self.tokenize(unique[start : start + CHUNK]), [], []
                for batch in micro_batches([len(row) for row in rows], budget):
                    with torch.inference_mode():
                        found.append(self.embed([rows[i] for i in batch.rows]))
                    order += batch.rows
                    shown.update(len(batch.rows))
                out[start + np.array(order)] = torch.cat(found).cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(out).all(axis=1))
        if len(bad):
            raise KitError(
                f"{len(bad)} embeddings hold NaN or infinity (first text: {unique[bad[0]][:60]!r}); "
                "train again with a lower training.learning_rate or use model.dtype float32"
            )
        return out if len(unique) == len(texts) else out[index]

    # ── adapters ─────────────────────────────────────────────────────────────────────────────────────────
    def attach_lora(self, seed: int = 0) -> None:
        """Add a fresh LoRA adapter as the parameters of ``model`` say, its start drawn from ``seed``."""
        self._drop_adapters()
        self.model, self._active = models.fresh_adapter(self.core, self.params, seed), ADAPTER

    def load_adapter(self, path: str | Path) -> None:
        """Load a peft adapter folder and make it the active one (another that was loaded before is dropped).

        Raises KitError when the folder holds no adapter, or one for another base.
        """
        self._drop_adapters()
        self.model = models.load_adapter(self.core, Path(path), self.portable_name)
        self.model.eval().requires_grad_(False)
        self._active = ADAPTER

    def set_adapter(self, name: str | None) -> None:
        """Switch the adapter off (None: the plain base) or on again."""
        if self.model is not self.core:
            layers = self.model.base_model
            layers.disable_adapter_layers() if name is None else layers.enable_adapter_layers()
            self._active = name
        elif name is not None:
            raise KitError("no adapter is loaded; call load_adapter with the folder of a trained one")

    def save_adapter(self, folder: str | Path) -> None:
        """Write the adapter as plain peft reads it; the base is named by its public name, not by a machine's path."""
        models.save_adapter(self.model, Path(folder), self.portable_name)

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
        unit_length = True  # what was a choice once stays in the digest, so that kept scores stay valid
        how = [p.dtype, p.pooling, unit_length, self.eos, p.max_length, p.query_template, p.document_template]
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
