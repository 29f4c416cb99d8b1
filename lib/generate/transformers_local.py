"""transformers in this process: for a local model where neither vLLM nor a server is at hand.

Slow, but it needs nothing new, and it holds answers to their JSON schema too. Each answer has its own seed: the noise
of its sampling comes from its own generator, so an answer does not depend on which others are in its batch (up to
rounding).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lib.common.files import KitError
from lib.generate.request import Answer, Request
from lib.params.params import GenerationParams


class LocalTransformers:
    """Loads ``generation.model``. Answers keep to a ``json_schema``; ``json_object`` is left to the parser."""

    def __init__(self, generation: GenerationParams):
        if not generation.model:
            raise KitError("backend transformers needs a generator; set generation.model to a folder or a hub name")
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        options = {"revision": generation.revision or None, "trust_remote_code": False}
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(generation.model, padding_side="left", **options)
            model = AutoModelForCausalLM.from_pretrained(generation.model, dtype=generation.dtype, **options)
        except (OSError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise KitError(
                f"transformers cannot load {generation.model!r}: {reason}; check generation.model"
            ) from error
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
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
            yield from self._batch(prompts[start : start + self.batch_size])

    def _prompt(self, request: Request) -> str:
        if self.tokenizer.chat_template is None:
            return "\n\n".join(message["content"] for message in request.messages) + "\n\n"
        return self.tokenizer.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)

    def _batch(self, batch: list[tuple[str, Request]]) -> Iterator[Answer]:
        import torch
        from transformers import LogitsProcessorList

        requests = [request for _, request in batch]
        longest = min(request.max_tokens for request in requests)
        chat = self.tokenizer.chat_template is not None  # then the template has put the special tokens in
        inputs = self.tokenizer(
            [prompt for prompt, _ in batch], return_tensors="pt", padding=True, add_special_tokens=not chat
        ).to(self.model.device)
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            tokens = self.model.generate(
                **inputs,
                max_new_tokens=longest,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self.tokenizer.pad_token_id,
                logits_processor=LogitsProcessorList([*self._schemas(requests), _seeded(requests)]),
            )
        ends = {self.tokenizer.eos_token_id, *_as_list(self.model.generation_config.eos_token_id)}
        for request, row, mask in zip(
            requests, tokens[:, inputs["input_ids"].shape[1] :], inputs["attention_mask"], strict=True
        ):
            written = row.tolist()
            stop = next((i for i, token in enumerate(written) if token in ends), None)
            text = self.tokenizer.decode(written[:stop], skip_special_tokens=True)
            used = len(written) if stop is None else stop + 1
            yield Answer(request.key, text, "length" if stop is None else "stop", int(mask.sum()), used)

    def _schemas(self, requests: Sequence[Request]) -> list:
        """Return what holds a batch to its schemas; nothing where there are none."""
        if not any(request.schema for request in requests):
            return []
        from lib.generate.schema import Vocabulary, held

        self.vocabulary = self.vocabulary or Vocabulary(self.tokenizer)
        return [held(self.vocabulary, requests)]


def _as_list(value) -> list:
    return value if isinstance(value, list) else [value]


def _seeded(requests: Sequence[Request]):
    """Return a logits processor that samples by Gumbel noise: the largest of logit + noise is a draw from softmax.

    Each row has a generator of its own, seeded by its request, and one temperature and nucleus. Greedy decoding
    of what it returns is sampling, with randomness that belongs to the row and not to the batch.
    """
    import torch
    from transformers import LogitsProcessor

    class Seeded(LogitsProcessor):
        def __init__(self):
            self.generators = [torch.Generator().manual_seed(request.seed) for request in requests]

        def __call__(self, input_ids, scores):
            warm = torch.tensor([request.temperature for request in requests], device=scores.device)[:, None]
            nucleus = torch.tensor([request.top_p for request in requests], device=scores.device)[:, None]
            logits = scores.float() / warm.clamp(min=1e-6)
            ordered, places = logits.sort(descending=True)
            chances = ordered.softmax(-1)
            ordered[chances.cumsum(-1) - chances >= nucleus] = -torch.inf
            noise = torch.stack([torch.empty(logits.shape[1]).exponential_(generator=own) for own in self.generators])
            drawn = torch.empty_like(logits).scatter_(1, places, ordered) - noise.log().to(logits.device)
            return torch.where(warm > 0, drawn, scores.float())

    return Seeded()
