"""Stand-ins for models: random weights of the same architecture, and a tokenizer of the same kind trained here.

Files and names are those of the hub (``config.json``, ``model.safetensors``, ``tokenizer.json``,
``tokenizer_config.json``), so everything that reads them takes the path it takes with the real ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from standin_data import texts

from lib.common.files import KitError, write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WORDS = 6000  # as few tokens per text as the bundled texts allow
_LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_XLMR = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
# How GPT-like tokenizers since Llama 3 cut text into words; Llama takes up to three digits together, Qwen one.
_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make(folder: Path) -> None:
    """Write the stand-in of the model after which ``folder`` is named. Raises KitError for a family without one."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
    from transformers.utils import logging

    kinds = yaml.safe_load(Path(__file__).with_name("standins.yaml").read_text(encoding="utf-8"))
    kind = next((kind for part, kind in kinds.items() if part in folder.name.lower()), None)
    if kind is None:
        raise KitError(
            f"there is no stand-in for the model {folder.name.removeprefix('tiny-')}; it has them for names with "
            f"{', '.join(kinds)}; give a folder with a small model of your own"
        )
    family, names = kind["family"], kind["tokenizer"]
    tokenizer = _TOKENIZERS[family]()
    write_json(folder / "tokenizer_config.json", names)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = [name for name in ("bos_token", "eos_token", "pad_token") if names.get(name)]
    tokens = {f"{name}_id": tokenizer.token_to_id(names[name]) for name in special}
    config = AutoConfig.for_model(family, vocab_size=tokenizer.get_vocab_size(), **tokens, **kind["sizes"])
    loader = AutoModel if family in ("xlm-roberta", "bert") else AutoModelForCausalLM
    logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loader.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)


def metaspace_bpe() -> Tokenizer:
    """Llama 2's and Mistral's: BPE over "▁" for spaces, unknown characters as bytes, <s> in front, nothing behind."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    special = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    latin = ("".join(character for character in text if ord(character) < 0x180) for text in texts())
    known = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=known, show_progress=False)
    tokenizer.train_from_iterator(latin, trainer)
    content = json.loads(tokenizer.to_str())  # bytes are pieces, not special tokens
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in special]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _framed(tokenizer, "<s> $A", "<s> $A <s> $B", "<s>")


def byte_bpe(digits: str, special: tuple[str, ...], words: int = WORDS) -> Tokenizer:
    """Llama 3's and Qwen's: BPE over bytes, nothing added to a text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    to_words = pre_tokenizers.Split(Regex(_PIECES % digits), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([to_words, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=words, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def llama_bpe() -> Tokenizer:
    """Llama 3's, with <|begin_of_text|> in front, and with numbers of lists as tokens.

    Brainstorming asks for a list in free text. A random model writes a random token at a time, and "\\n7. " out of
    four would never come; so the tokens are there whole, and enough of them that a task has half a dozen words.
    """
    tokenizer = byte_bpe("{1,3}", _LLAMA, 2000)
    tokenizer.add_tokens([f"\n{number}. " for number in range(1, 401)])
    return _framed(tokenizer, f"{_LLAMA[0]} $A", f"{_LLAMA[0]} $A {_LLAMA[0]} $B", _LLAMA[0])


def qwen_bpe() -> Tokenizer:
    """Qwen 2's: nothing in front, nothing behind."""
    from tokenizers import normalizers

    tokenizer = byte_bpe("", _QWEN)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def unigram() -> Tokenizer:
    """XLM-RoBERTa's and multilingual E5's: sentencepiece's unigram model, <s> in front and </s> behind.

    Its pieces are those of ``metaspace_bpe``, scored by rank: the library's own training of unigram models comes out
    a little different every time.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    ranked = sorted(metaspace_bpe().get_vocab().items(), key=lambda item: item[1])
    pieces = ranked[3 + 256 :]  # behind <unk>, <s>, </s>, bytes
    scored = [(piece, -float(rank + 10)) for rank, (piece, _) in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram([*((name, 0.0) for name in _XLMR), *scored], unk_id=_XLMR.index("<unk>")))
    tokenizer.add_special_tokens(list(_XLMR))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    return _framed(tokenizer, "<s> $A </s>", "<s> $A </s> </s> $B </s>", "<s>", "</s>")


def _framed(tokenizer: Tokenizer, single: str, pair: str, *special: str) -> Tokenizer:
    """Return the tokenizer, now putting special tokens around a text or a pair of texts."""
    from tokenizers.processors import TemplateProcessing

    numbers = [(token, tokenizer.token_to_id(token)) for token in special]
    tokenizer.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=numbers)
    return tokenizer


_TOKENIZERS = {"mistral": metaspace_bpe, "llama": llama_bpe, "qwen2": qwen_bpe, "bert": unigram, "xlm-roberta": unigram}
