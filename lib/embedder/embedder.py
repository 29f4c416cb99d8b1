"""The embedder: a base model, its LoRA adapters, pooling, and ``encode``.

Decoders (Mistral, Qwen, Llama) are padded on the right and given no mask: a causal model's real tokens never see
the padding behind them, and attention takes its fast kernel. Encoders (BERT) get a mask where lengths differ.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.common.files import KitError, digest
from lib.embedder.basemodel import BERTS, DECODERS, Source, load_base, portable_name, resolve
from lib.embedder.packing import Rows, distinct, micro_batches, tokenize

if TYPE_CHECKING:
    import numpy as np
    import torch

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
        model, tokenizer = load_base(source, params, device)
        embedder = cls(model, tokenizer, params, source)
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
    def embed(self, rows: Rows, attention: str = "padded", prune: bool = False, prefix: bool = False) -> torch.Tensor:
        """Return (n, dim) fp32 embeddings of token ids, with gradients where they are enabled.

        ``attention`` is "padded", "ragged" or "varlen" (``lib.embedder.attention``); ``prune`` runs the last layer only at
        the pooled token, ``prefix`` runs the tokens that all rows share once (both exact; ``lib.kernels``).
        """
        from lib.embedder.forward import embed_rows

        return embed_rows(self, rows, attention, prune, prefix)

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
        import numpy as np

        unique, index = distinct(texts)
        out = np.empty((len(unique), self.dim), np.float32)
        bar = _bar(len(unique), progress)
        for start in range(0, len(unique), CHUNK):
            rows = self.tokenize(unique[start : start + CHUNK])
            out[start : start + len(rows)] = self._encode_rows(rows, batch_tokens or self.params.encode_tokens, bar)
        bar.close()
        bad = np.flatnonzero(~np.isfinite(out).all(axis=1))
        if len(bad):
            raise KitError(
                f"{len(bad)} embeddings hold NaN or infinity (first text: {unique[bad[0]][:60]!r}); "
                "train again with a lower training.learning_rate or use model.dtype float32"
            )
        return out if len(unique) == len(texts) else out[index]

    def _encode_rows(self, rows: Rows, budget: int, bar) -> np.ndarray:
        import torch

        budget = budget or (CPU_TOKENS if self.device.type == "cpu" else GPU_TOKENS)
        found, order = [], []
        self.model.eval()
        with torch.inference_mode():
            for batch in micro_batches([len(row) for row in rows], budget):
                found.append(self.embed([rows[i] for i in batch.rows]))
                order += batch.rows
                bar.update(len(batch.rows))
            together = torch.cat(found)
            out = torch.empty_like(together)
            out[torch.tensor(order, device=together.device)] = together
            return out.cpu().numpy()

    # ── adapters ─────────────────────────────────────────────────────────────────────────────────────────
    def attach_lora(
        self,
        seed: int = 0,
        rank: int | None = None,
        alpha: int | None = None,
        dropout: float | None = None,
        targets: Sequence[str] = (),
    ) -> None:
        """Add a fresh LoRA adapter (parameters of ``model`` unless given), its start drawn from ``seed``."""
        import torch
        from peft import LoraConfig, get_peft_model

        p = self.params
        config = LoraConfig(
            r=rank or p.lora_rank,
            lora_alpha=alpha or p.lora_alpha,
            task_type="FEATURE_EXTRACTION",
            lora_dropout=p.lora_dropout if dropout is None else dropout,
            target_modules=list(targets or p.lora_targets or lora_targets(self.family)),
            exclude_modules=["pooler.dense"],
        )
        self._drop_adapters()
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a model without a pooler has none to leave out
            torch.manual_seed(seed)
            try:
                self.model = get_peft_model(self.core, config, autocast_adapter_dtype=True)
            except ValueError as error:
                raise KitError(
                    f"LoRA does not fit this model ({str(error).splitlines()[0]}); mend model.lora_targets"
                ) from None
        self._active = ADAPTER

    def load_adapter(self, path: str | Path) -> None:
        """Load a peft adapter folder and make it the active one (another that was loaded before is dropped).

        Raises KitError when the folder holds no adapter, or one for another base.
        """
        from lib.embedder.adapters import load_adapter

        self._drop_adapters()
        self.model = load_adapter(self.core, Path(path), self.portable_name)
        self.model.eval().requires_grad_(False)
        self._active = ADAPTER

    def set_adapter(self, name: str | None) -> None:
        """Switch the adapter off (None: the plain base) or on again."""
        if name is not None and self.model is self.core:
            raise KitError("no adapter is loaded; call load_adapter with the folder of a trained one")
        if self.model is not self.core:
            (
                self.model.base_model.disable_adapter_layers
                if name is None
                else self.model.base_model.enable_adapter_layers
            )()
        self._active = name

    def save_adapter(self, folder: str | Path) -> None:
        """Write the adapter as plain peft reads it; the base is named by its public name, not by a machine's path."""
        from lib.embedder.adapters import save_adapter

        save_adapter(self.model, Path(folder), self.portable_name)

    def _drop_adapters(self) -> None:
        if self.model is not self.core:
            self.core = self.model.unload()
            if hasattr(self.core, "peft_config"):
                del self.core.peft_config
        self.model, self._active = self.core, None

    # ── identity ─────────────────────────────────────────────────────────────────────────────────────────
    @property
    def portable_name(self) -> str:
        """The base's public name."""
        return portable_name(self.params, self.source)

    def adapter_digest(self) -> str:
        """Return a digest of the active adapter's weights; "base" when none is active."""
        if self._active is None:
            return "base"
        hasher = hashlib.sha256()
        for name, weight in sorted(self.model.state_dict().items()):
            if "lora_" in name:
                hasher.update(name.encode())
                hasher.update(weight.detach().cpu().contiguous().view(-1).view(dtype=_bytes()).numpy().tobytes())
        config = self.model.peft_config[ADAPTER]
        return digest([hasher.hexdigest(), config.r, config.lora_alpha, bool(config.use_rslora)])

    def fingerprint(self) -> str:
        """Return a digest of everything but the adapter that changes an embedding."""
        p = self.params
        return digest(
            [
                self.source.identity if self.source else self.family,
                p.dtype,
                p.pooling,
                p.normalize,
                self.eos,
                p.max_length,
                p.query_template,
                p.document_template,
            ]
        )


def lora_targets(family: str) -> tuple[str, ...]:
    """Return the linear layers of a family's blocks, all of which get LoRA unless ``model.lora_targets`` says so."""
    if family in BERTS:
        return ("query", "key", "value", "dense")
    return ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _eos(tokenizer, params: ModelParams) -> int | None:
    """Return the id that ends every text, or None. Pooling the last token without one pools an arbitrary word."""
    if not params.append_eos:
        if params.pooling == "last":
            raise KitError("model.pooling last needs model.append_eos true: the embedding is the state of that token")
        return None
    if tokenizer.eos_token_id is None:
        raise KitError("this tokenizer has no end-of-sequence token; set model.append_eos false and model.pooling mean")
    return tokenizer.eos_token_id


def _bytes() -> Any:
    import torch

    return torch.uint8


def _bar(total: int, progress: bool):
    from lib.common.bars import bar

    return bar(total=total, disable=not progress, desc="encode", unit="text", leave=False)
