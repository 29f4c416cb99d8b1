"""Stand-ins for models: random weights of the same architecture, and a tokenizer of the same kind trained here.

Files and names are those of the hub (``config.json``, ``model.safetensors``, ``tokenizer.json``,
``tokenizer_config.json``), so everything that reads them takes the path it takes with the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.common.files import KitError, write_json
from lib.tiny.data import texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WORDS = 6000  # as few tokens per text as the bundled texts allow
_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.18,
}  # 1/sqrt(hidden size): texts must differ in what the layers make of them
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_XLMR = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_CHAT = (  # Llama 3's own, without tools
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# How GPT-like tokenizers since Llama 3 cut text into words; Llama takes up to three digits together, Qwen one.
_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Kind:
    """One family: its name in transformers, who trains its tokenizer, its sizes, and ``tokenizer_config.json``."""

    family: str
    tokenizer: Callable[[], Tokenizer]
    sizes: dict[str, Any]
    config: dict[str, Any]


def make(folder: Path) -> None:
    """Write the stand-in of the model after which ``folder`` is named. Raises KitError for a family without one."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
    from transformers.utils import logging

    kind = next((kind for part, kind in KINDS.items() if part in folder.name.lower()), None)
    if kind is None:
        raise KitError(
            f"tiny has no stand-in for the model {folder.name.removeprefix('tiny-')}; it has them for names with "
            f"{', '.join(KINDS)}; give a folder with a small model of your own"
        )
    tokenizer = kind.tokenizer()
    write_json(folder / "tokenizer_config.json", kind.config)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = {
        f"{name}_id": tokenizer.token_to_id(kind.config[name])
        for name in ("bos_token", "eos_token", "pad_token")
        if kind.config.get(name)
    }
    config = AutoConfig.for_model(kind.family, **{"vocab_size": tokenizer.get_vocab_size(), **tokens, **kind.sizes})
    loader = AutoModel if kind.family in ("xlm-roberta", "bert") else AutoModelForCausalLM
    logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loader.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)


def metaspace_bpe() -> Tokenizer:
    """Llama 2's and Mistral's: BPE over "▁" for spaces, unknown characters as bytes, <s> in front, nothing behind."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    latin = ("".join(character for character in text if ord(character) < 0x180) for text in texts())
    tokenizer.train_from_iterator(
        latin,
        trainers.BpeTrainer(
            vocab_size=WORDS,
            special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
            show_progress=False,
        ),
    )
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in special]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def byte_bpe(digits: str, special: tuple[str, ...], words: int = WORDS) -> Tokenizer:
    """Llama 3's and Qwen's: BPE over bytes, nothing added to a text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES % digits), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts(),
        trainers.BpeTrainer(
            vocab_size=words, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        ),
    )
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def llama_bpe() -> Tokenizer:
    """Llama 3's, with <|begin_of_text|> in front, and with numbers of lists as tokens.

    Brainstorming asks for a list in free text. A random model writes a random token at a time, and "\\n7. " out of
    four would never come; so the tokens are there whole, and enough of them that a task has half a dozen words.
    """
    from tokenizers import processors

    tokenizer = byte_bpe("{1,3}", _LLAMA, 2000)
    tokenizer.add_tokens([f"\n{number}. " for number in range(1, 401)])
    start = _LLAMA[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A {start} $B", special_tokens=[(start, tokenizer.token_to_id(start))]
    )
    return tokenizer


def qwen_bpe() -> Tokenizer:
    """Qwen 2's: nothing in front, nothing behind."""
    from tokenizers import normalizers

    tokenizer = byte_bpe("", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def unigram() -> Tokenizer:
    """XLM-RoBERTa's and multilingual E5's: sentencepiece's unigram model, <s> in front and </s> behind.

    Its pieces are those of ``metaspace_bpe``, scored by rank: the library's own training of unigram models comes out
    a little different every time.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = sorted(metaspace_bpe().get_vocab().items(), key=lambda item: item[1])[
        3 + 256 :
    ]  # behind <unk>, <s>, </s>, bytes
    scored = [(piece, -float(rank + 10)) for rank, (piece, _) in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram([*((name, 0.0) for name in _XLMR), *scored], unk_id=_XLMR.index("<unk>")))
    tokenizer.add_special_tokens(list(_XLMR))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


_MISTRAL_TOKENS = {
    "tokenizer_class": "LlamaTokenizer",
    "add_bos_token": True,
    "add_eos_token": False,
    "legacy": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": None,
}
_LLAMA_TOKENS = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": _LLAMA[0],
    "eos_token": _LLAMA[-1],
    "chat_template": _CHAT,
    "model_input_names": ["input_ids", "attention_mask"],
    "model_max_length": 131072,
}
_QWEN_TOKENS = {
    "tokenizer_class": "Qwen2Tokenizer",
    "eos_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
    "bos_token": None,
    "unk_token": None,
    "add_prefix_space": False,
    "model_max_length": 32768,
}
_XLMR_TOKENS = {
    "tokenizer_class": "XLMRobertaTokenizer",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
    "model_max_length": 512,
}

KINDS = {  # a part of the model's name -> its kind; head size 64, since vLLM's attention on processors knows no 16
    "mistral": Kind(
        "mistral",
        metaspace_bpe,
        {**_GROUPED, "sliding_window": 4096, "max_position_embeddings": 32768},
        _MISTRAL_TOKENS,
    ),
    "llama": Kind(
        "llama",
        llama_bpe,
        {
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 64,
            "max_position_embeddings": 131072,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        },
        _LLAMA_TOKENS,
    ),
    "qwen2": Kind(
        "qwen2", qwen_bpe, {**_GROUPED, "max_position_embeddings": 32768, "tie_word_embeddings": True}, _QWEN_TOKENS
    ),
    "multilingual-e5-small": Kind("bert", unigram, {**_SIZES, "max_position_embeddings": 512}, _XLMR_TOKENS),
    "multilingual-e5": Kind(
        "xlm-roberta", unigram, {**_SIZES, "max_position_embeddings": 514, "type_vocab_size": 1}, _XLMR_TOKENS
    ),
}
