"""The real small model through the real vLLM: it knows something, and keeps to schema and slots."""

import json

import pytest

from lib.common.bundled import ROOT
from lib.common.files import KitError
from lib.embedder import smollm
from lib.generate import generate as generation
from lib.generate.answers import responses
from lib.generate.llms import close_backends
from lib.generate.parsing import to_triplets
from lib.generate.prompts import load_template
from lib.params.params import load


@pytest.fixture(scope="module")
def model():
    try:
        return smollm.make(ROOT / "models" / "smollm2-135m-instruct")
    except KitError as error:
        pytest.skip(str(error))


def test_the_unpacked_model_knows_something(model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, llm = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    written = llm.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(written[0, inputs["input_ids"].shape[1] :])


def test_it_answers_row_by_row_within_the_bounds_of_the_schema(model, tmp_path):
    given = {"backend": "vllm", "model": str(model), "variant": "small", "frequency_penalty": 0.2}
    given |= {"temperature": 0.7, "max_tokens": 120, "max_model_len": 2048, "dtype": "bfloat16"}
    params = load("classroom", {f"generation.{name}": value for name, value in given.items()})
    rows = generation.generate(params, "short_short", 12, tmp_path, progress=False)
    close_backends()
    assert [row["slots"] for row in rows] == [row["slots"] for row in responses("short_short")[:12]]
    triplets, rejected = to_triplets("short_short", rows)
    assert len(triplets) + sum(rejected.values()) == 12 and len(triplets) >= 6
    lengths = load_template("short_short", "small").lengths
    for row in rows:
        if row["finish"] == "stop":
            texts = json.loads(row["response"], strict=False)
            assert all(
                least <= len(texts[key]) < most for key, (least, most) in lengths.items()
            )  # both are short texts
        else:
            assert row["finish"] == "length"
