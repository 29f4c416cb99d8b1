"""A local model held to a category's schema, without a grammar engine: each step allows only tokens that fit.

The schemas are flat (``lib.generate.prompts.answer_schema``): fixed keys in a fixed order, a text each. So an answer is known but
for its texts: ``{"input": "`` comes first, then tokens that may stand in a JSON text until the model writes the closing
quote or the text is as long as allowed, then ``, "positive_document": "``, and so on to the closing brace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lib.common.files import KitError
from lib.generate.request import Request

_NEVER = 1 << 30  # the length of a token that may not stand in a text


class Vocabulary:
    """A tokenizer's tokens as parts of a JSON text: their lengths in characters, the quote, and the end of the answer."""

    def __init__(self, tokenizer):
        import torch

        ids = list(range(len(tokenizer)))
        special = set(tokenizer.all_special_ids)
        self.texts = tokenizer.batch_decode([[i] for i in ids])
        names = tokenizer.convert_ids_to_tokens(ids)  # where decoding drops a leading space, these have a mark for it
        self.lengths = torch.tensor(
            [
                len(name) if i not in special and _plain(text) else _NEVER
                for i, name, text in zip(ids, names, self.texts, strict=True)
            ]
        )
        if '"' not in self.texts or tokenizer.eos_token_id is None:
            raise KitError(
                "this generator's tokenizer has no quote or no end-of-sequence token of its own; "
                "set generation.structured to off"
            )
        self.quote, self.end = self.texts.index('"'), tokenizer.eos_token_id
        self.encode = lambda text: tokenizer.encode(text, add_special_tokens=False)

    def answer(self, schema: dict) -> Iterator:
        """Yield, step by step, the one token that must come or the longest text that may; be sent the token that came."""
        texts = list(schema["properties"].items())
        for number, (key, rule) in enumerate(texts):
            for token in self.encode(f'{", " if number else "{"}"{key}": "'):
                yield token  # not "yield from": a list takes nothing that is sent
            longest = room = rule.get("maxLength", _NEVER - 1)
            token = yield (room, not rule.get("minLength"))
            while token != self.quote:
                room -= int(self.lengths[token])
                token = yield (room, room < longest)
        for token in self.encode("}"):
            yield token
        while True:
            yield self.end


def _plain(text: str) -> bool:
    return bool(text) and not any(character in '"\\' or character < " " for character in text)


def held(vocabulary: Vocabulary, requests: Sequence[Request]):
    """Return a logits processor that holds every row to its request's schema (rows without one are left alone)."""
    import torch
    from transformers import LogitsProcessor

    class Held(LogitsProcessor):
        def __init__(self):
            self.answers = [vocabulary.answer(request.schema) if request.schema else None for request in requests]
            self.begun = False

        def __call__(self, input_ids, scores):
            last = input_ids[:, -1].tolist()
            steps = [
                answer and answer.send(last[row] if self.begun else None) for row, answer in enumerate(self.answers)
            ]
            self.begun = True
            rooms = torch.tensor([step[0] if isinstance(step, tuple) else -1 for step in steps], device=scores.device)
            lengths = torch.full(scores.shape[1:], _NEVER, device=scores.device)
            lengths[: len(vocabulary.lengths)] = (
                vocabulary.lengths
            )  # a model may have more places than its tokenizer has tokens
            kept = scores.masked_fill(lengths[None] > rooms[:, None], -torch.inf)
            for row, step in enumerate(steps):
                if step is None:
                    kept[row] = scores[row]
                elif isinstance(step, int):
                    kept[row, step] = 0.0
                elif step[1]:
                    kept[row, vocabulary.quote] = scores[row, vocabulary.quote]
            return kept

    return Held()
