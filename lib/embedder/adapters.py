"""LoRA adapters on disk, in peft's own format: readable by peft and sentence-transformers without this kit."""

from __future__ import annotations

import errno
import json
import re
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.common.files import KitError, digest_file, read_json, write_bytes, write_text, writing
from lib.embedder.basemodel import BERTS
from lib.params.params import ModelParams

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BERT_LINEARS = ("query", "key", "value", "dense")
DECODER_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def fresh_adapter(core, params: ModelParams, seed: int):
    """Return ``core`` inside peft with a new LoRA adapter, its start drawn from ``seed``.

    It is on all linear layers of the blocks unless ``lora_targets`` says so. Raises KitError when it names none.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    bert = core.config.model_type in BERTS
    linears = BERT_LINEARS if bert else DECODER_LINEARS
    config = LoraConfig(
        r=params.lora_rank,
        lora_alpha=params.lora_alpha,
        lora_dropout=params.lora_dropout,
        target_modules=list(params.lora_targets or linears),
        exclude_modules=["pooler.dense"] if bert else None,  # a decoder has none, and peft would warn whoever loads it
        task_type="FEATURE_EXTRACTION",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # our own BERT has lost its pooler: there is none to leave out
        torch.manual_seed(seed)
        try:
            return get_peft_model(core, config, autocast_adapter_dtype=True)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise KitError(f"LoRA does not fit this model ({reason}); mend model.lora_targets") from None


def save_adapter(model, folder: Path, base: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` of a peft model, each atomically.

    ``base`` is the base model's public name. Keys are sorted, so equal adapters are equal files.
    """
    with tempfile.TemporaryDirectory() as temporary:
        with warnings.catch_warnings(), writing(Path(temporary, WEIGHTS)):
            warnings.simplefilter("ignore")  # peft cannot reach the hub for the base's vocabulary size
            _save(model, temporary)
        config = read_json(Path(temporary, CONFIG))
        config["base_model_name_or_path"] = base
        for name in ("target_modules", "exclude_modules"):
            if isinstance(config.get(name), list):
                config[name] = sorted(config[name])  # a set in memory, whose order changes from run to run
        write_bytes(folder / WEIGHTS, Path(temporary, WEIGHTS).read_bytes())
        write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")


def _save(model, folder: str) -> None:
    """peft's own saving, with what safetensors says about the disk as the system's error that it was."""
    from safetensors import SafetensorError

    try:
        model.save_pretrained(folder, save_embedding_layers=False)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error


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
    config = read_json(folder / CONFIG)
    trained_on = str(config.get("base_model_name_or_path") or "")
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
        reason = str(error).strip().splitlines()
        raise KitError(
            f"the adapter in {folder} does not fit {base} ({reason[-1].strip() if reason else error}); "
            "load the base it was trained on"
        ) from error
    warned = [str(warning.message).lower() for warning in told]
    if any("missing" in message and "key" in message for message in warned):
        raise KitError(
            f"the adapter in {folder} does not fit {base}: weights are missing; load the base it was trained on"
        )
    return model
