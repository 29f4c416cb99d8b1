"""LoRA adapters on disk, in peft's own format: readable by peft and sentence-transformers without this kit."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path

from lib.files import KitError, read_json, write_bytes, write_text

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def save_adapter(model, folder: Path, base: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` of a peft model, each atomically.

    ``base`` is the base model's public name. Keys are sorted, so equal adapters are equal files.
    """
    with tempfile.TemporaryDirectory() as temporary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")            # peft cannot reach the hub for the base's vocabulary size
            model.save_pretrained(temporary, save_embedding_layers=False)
        config = read_json(Path(temporary, CONFIG))
        config["base_model_name_or_path"] = base
        for name in ("target_modules", "exclude_modules"):
            if isinstance(config.get(name), list):
                config[name] = sorted(config[name])    # a set in memory, whose order changes from run to run
        write_bytes(folder / WEIGHTS, Path(temporary, WEIGHTS).read_bytes())
        write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")


def load_adapter(core, folder: Path, base: str):
    """Return ``core`` inside peft with the adapter in ``folder``. Raises KitError when it is missing or does not fit."""
    from peft import PeftModel

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
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        reason = str(error).strip().splitlines()
        raise KitError(f"the adapter in {folder} does not fit {base} ({reason[-1].strip() if reason else error}); "
                       "load the base it was trained on") from error
    missing = [str(w.message) for w in told if "missing" in str(w.message).lower() and "key" in str(w.message).lower()]
    if missing:
        raise KitError(f"the adapter in {folder} does not fit {base}: weights are missing; load the base it was trained on")
    return model
