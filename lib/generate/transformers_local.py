"""transformers in this process: for a local model where neither vLLM nor a server is at hand.

Slow, but it needs nothing new (a grammar engine such as xgrammar would be one more heavy package), and it holds answers
to their JSON schema too. Each answer has its own seed: the noise of its sampling comes from its own generator, so an
answer does not depend on which others are in its batch (up to rounding).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor, LogitsProcessorList

from lib.common.bundled import model_place
from lib.common.files import KitError
from lib.generate.answers import Answer, Request
from lib.params.params import GenerationParams

_NEVER = 1 << 30  # the length of a token that may not stand in a text


class LocalTransformers:
    """Loads ``generation.model``. Answers keep to a ``json_schema``; ``json_object`` is left to the parser."""

    def __init__(self, generation: GenerationParams):
        if not generation.model:
            raise KitError("backend transformers needs a generator; set generation.model to a folder or a hub name")
        place = model_place(generation.model)
        options = {"revision": generation.revision or None, "trust_remote_code": False}
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(place, padding_side="left", **options)
            model = AutoModelForCausalLM.from_pretrained(place, dtype=generation.dtype, **options)
        except (OSError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise KitError(
                f"transformers cannot load {generation.model!r}: {reason}; check generation.model"
            ) from error
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        ends = self.model.generation_config.eos_token_id
        self.ends = {self.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
        self.batch_size = generation.batch_size
        self.vocabulary = None

    def close(self) -> None:
        """Drop the model."""
        self.model = None

    def ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield answers batch by batch; requests of about the same length share a batch, to save padding."""
        prompts = [(self._prompt(request), request) for request in requests]
        prompts.sort(key=lambda pair: (pair[1].max_tokens, pair[1].temperature, pair[1].top_p, len(pair[0])))
        for start in range(0, len(prompts), self.batch_size):
            yield from self._batch(*zip(*prompts[start : start + self.batch_size], strict=True))

    def _prompt(self, request: Request) -> str:
        if self.tokenizer.chat_template is None:
            return "\n\n".join(message["content"] for message in request.messages) + "\n\n"
        return self.tokenizer.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)

    def _batch(self, prompts: Sequence[str], requests: Sequence[Request]) -> Iterator[Answer]:
        processors = LogitsProcessorList([Worn(requests), Seeded(requests)])
        if any(request.schema for request in requests):
            self.vocabulary = self.vocabulary or Vocabulary(self.tokenizer)
            processors.insert(1, Held(self.vocabulary, requests))
        chat = self.tokenizer.chat_template is not None  # then the template has put the special tokens in
        inputs = self.tokenizer(list(prompts), return_tensors="pt", padding=True, add_special_tokens=not chat)
        inputs = inputs.to(self.model.device)
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            tokens = self.model.generate(
                **inputs,
                max_new_tokens=min(request.max_tokens for request in requests),
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self.tokenizer.pad_token_id,
                logits_processor=processors,
            )
        written = tokens[:, inputs["input_ids"].shape[1] :].tolist()
        for request, row, mask in zip(requests, written, inputs["attention_mask"], strict=True):
            stop = next((i for i, token in enumerate(row) if token in self.ends), None)
            text = self.tokenizer.decode(row[:stop], skip_special_tokens=True)
            finish, used = ("length", len(row)) if stop is None else ("stop", stop + 1)
            yield Answer(request.key, text, finish, int(mask.sum()), used)


class Worn(LogitsProcessor):
    """Takes a token's logit down by the row's frequency penalty for each time that the row's answer holds it."""

    def __init__(self, requests: Sequence[Request]):
        self.penalty = torch.tensor([request.frequency_penalty for request in requests])[:, None]
        self.start: int | None = None  # where the prompts end

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the (rows, vocabulary) logits; untouched where no row has a penalty."""
        self.start = input_ids.shape[1] if self.start is None else self.start
        if not self.penalty.any():
            return scores
        written = input_ids[:, self.start :]
        counts = torch.zeros_like(scores).scatter_add_(1, written, torch.ones_like(written, dtype=scores.dtype))
        return scores - self.penalty.to(scores) * counts


class Seeded(LogitsProcessor):
    """Samples by Gumbel noise: the largest of logit + noise is a draw from softmax.

    Each row has a generator of its own, seeded by its request, and one temperature and nucleus. Greedy decoding
    of what it returns is sampling, with randomness that belongs to the row and not to the batch.
    """

    def __init__(self, requests: Sequence[Request]):
        self.generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        self.temperature = torch.tensor([request.temperature for request in requests])[:, None]
        self.nucleus = torch.tensor([request.top_p for request in requests])[:, None]

    def __call__(self, input_ids: torch.Tensor | None, scores: torch.Tensor) -> torch.Tensor:
        """Return (rows, vocabulary) logits whose maximum is the token drawn."""
        temperature, nucleus = self.temperature.to(scores.device), self.nucleus.to(scores.device)
        logits = scores.float() / temperature.clamp(min=1e-6)
        ordered, places = logits.sort(descending=True)
        chances = ordered.softmax(-1)
        ordered[chances.cumsum(-1) - chances >= nucleus] = -torch.inf
        noise = torch.stack([torch.empty(logits.shape[1]).exponential_(generator=own) for own in self.generators])
        drawn = torch.empty_like(logits).scatter_(1, places, ordered) - noise.log().to(logits.device)
        return torch.where(temperature > 0, drawn, scores.float())


class Vocabulary:
    """A tokenizer's tokens as parts of a JSON text: their lengths in characters, the quote, and the end of the answer.

    The schemas are flat (``lib.generate.prompts.answer_schema``): fixed keys in a fixed order, a text each. So an
    answer is known but for its texts: ``{"input": "`` comes first, then tokens that may stand in a JSON text until the
    model writes the closing quote or the text is as long as allowed, then ``, "positive_document": "``, and so on.
    """

    def __init__(self, tokenizer):
        ids, special = list(range(len(tokenizer))), set(tokenizer.all_special_ids)
        texts = tokenizer.batch_decode([[i] for i in ids])
        if '"' not in texts or tokenizer.eos_token_id is None:
            raise KitError(
                "this generator's tokenizer has no quote or no end-of-sequence token of its own; "
                "set generation.structured to off"
            )
        names = tokenizer.convert_ids_to_tokens(ids)  # where decoding drops a leading space, these have a mark for it
        self.lengths = torch.full((len(ids),), _NEVER)
        for i, text in enumerate(texts):
            if text and i not in special and not any(character in '"\\' or character < " " for character in text):
                self.lengths[i] = len(names[i])
        self.quote, self.end = texts.index('"'), tokenizer.eos_token_id
        self.encode = lambda text: tokenizer.encode(text, add_special_tokens=False)

    def answer(self, schema: dict) -> Iterator:
        """Yield for each step the token that must come, or (the longest that may, may the quote); sent: what came."""
        for number, (key, rule) in enumerate(schema["properties"].items()):
            for token in self.encode(f'{", " if number else "{"}"{key}": "'):
                yield token  # not "yield from": a list takes nothing that is sent
            longest = room = rule.get("maxLength", _NEVER - 1)
            last = longest - rule.get("minLength", 0)  # the room left from which on the text may end
            token = yield (room, room <= last)
            while token != self.quote:
                room -= int(self.lengths[token])
                token = yield (room, room <= last)
        for token in self.encode("}"):
            yield token
        while True:
            yield self.end


class Held(LogitsProcessor):
    """Holds every row to its request's schema (rows without one are left alone): only tokens that fit are allowed."""

    def __init__(self, vocabulary: Vocabulary, requests: Sequence[Request]):
        self.vocabulary, self.begun = vocabulary, False
        self.answers = [vocabulary.answer(request.schema) if request.schema else None for request in requests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the (rows, vocabulary) logits, -inf where a token does not fit."""
        last = input_ids[:, -1].tolist() if self.begun else [None] * len(self.answers)
        self.begun = True
        # a model may have more places than its tokenizer has tokens
        lengths = torch.full(scores.shape[1:], _NEVER, device=scores.device)
        lengths[: len(self.vocabulary.lengths)] = self.vocabulary.lengths
        kept = scores.clone()
        for row, answer in enumerate(self.answers):
            step = answer.send(last[row]) if answer else None
            if isinstance(step, tuple):
                room, may_end = step
                kept[row].masked_fill_(lengths > room, -torch.inf)
                if may_end:
                    kept[row, self.vocabulary.quote] = scores[row, self.vocabulary.quote]
            elif step is not None:
                kept[row] = -torch.inf
                kept[row, step] = 0.0
        return kept
