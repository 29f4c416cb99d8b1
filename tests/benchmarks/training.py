"""Training step, side by side with sentence-transformers' CachedMultipleNegativesRankingLoss.

    python tests/benchmarks/training.py --case mixed --out mixed.json             MiniLM, batch 256, on this processor
    python tests/benchmarks/training.py --case documents --batch 64 --keep 30000  fewer and longer texts (also: short)
    python tests/benchmarks/training.py --model mistral-7b --dtype bfloat16       random weights of that shape, one GPU
    python tests/benchmarks/training.py --case mixed --peak                       peak memory, one process per variant

Same model, LoRA, token ids, temperature and precision; tokenising and the optimizer are in neither. Parity of loss
and gradients is checked first, rounds are interleaved, the minimum counts, and a round during which other processes
took over a tenth of the machine is marked (``--out`` collects the rounds of several calls). Needs torch, transformers,
peft and sentence-transformers only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from tests.benchmarks.timing import interleaved

SCALE = 20.0
SHAPES = {  # random weights of published shapes: family, hidden, inner, layers, heads, key heads, vocabulary
    "qwen2-1.5b": ("qwen2", 1536, 8960, 28, 12, 2, 32000),
    "mistral-7b": ("mistral", 4096, 14336, 32, 32, 8, 32000),
    "tiny": ("qwen2", 64, 128, 2, 4, 2, 1000),
}
CASES = {  # (median, spread) of log-normal lengths of queries and documents, and the cap
    "mixed": ((28, 0.35), (95, 0.55), 256),
    "short": ((12, 0.4), (12, 0.4), 64),
    "documents": ((30, 0.35), (270, 0.6), 512),
}


class Words:
    """Stands in for a tokenizer: the benchmark makes token ids itself."""

    pad_token_id, eos_token_id = 0, 2


def build(arguments):
    """Return an embedder with LoRA whose B is not zero."""
    from lib.embedder.embedder import Embedder
    from lib.params.model import ModelParams

    torch.manual_seed(0)
    dtype = getattr(torch, arguments.dtype)
    if arguments.model == "minilm":
        found = Embedder.from_params(ModelParams(dtype=arguments.dtype), device=arguments.device)
    else:
        from transformers import AutoConfig, AutoModel

        names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
        family, *numbers, vocabulary = SHAPES[arguments.model]
        shape = dict(zip(names, numbers, strict=True)) | {"vocab_size": vocabulary, "max_position_embeddings": 4096}
        if family == "mistral":
            shape["sliding_window"] = None
        with torch.device(arguments.device):
            before, _ = torch.get_default_dtype(), torch.set_default_dtype(dtype)
            core = AutoModel.from_config(AutoConfig.for_model(family, **shape), attn_implementation="sdpa")
            torch.set_default_dtype(before)
        found = Embedder(
            core, Words(), ModelParams(name=family, pooling="last", append_eos=True, dtype=arguments.dtype)
        )
    found.attach_lora(seed=1)
    with torch.no_grad():
        for name, weight in found.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.02)
    return found


def triplets(case: str, count: int, found, seed: int) -> list[list[list[int]]]:
    """Return three columns (queries, positives, hard negatives) of token-id rows; queries share an instruction."""
    query, document, cap = CASES[case]
    stream, words = (
        random.Random(seed),
        min(found.core.config.vocab_size, 30000) - 1000 if found.family == "bert" else 900,
    )
    low = 1000 if found.family == "bert" else 10
    ends = ([101], [102]) if found.family == "bert" else ([], [2])
    instruction = [low + stream.randrange(words) for _ in range(min(20, query[0] - 4))]

    def row(shape, head=()):
        length = max(len(head) + 3, min(cap, round(shape[0] * stream.lognormvariate(0, shape[1]))))
        body = [low + stream.randrange(words) for _ in range(length - len(head) - len(ends[0]) - 1)]
        return [*ends[0], *head, *body, *ends[1]]

    return [[row(query, instruction) for _ in range(count)], *([row(document) for _ in range(count)] for _ in range(2))]


class Theirs(torch.nn.Module):
    """The same core and pooling behind sentence-transformers' calling convention."""

    def __init__(self, found):
        super().__init__()
        self.found = SimpleNamespace(embedder=found)  # not a child: it is the other side's model already

    def forward(self, features):
        """Return features with "sentence_embedding"; masked as sentence-transformers does it."""
        found, mask = self.found.embedder, features["attention_mask"]
        extra = {"use_cache": False} if found.causal else {}
        hidden = found.core(input_ids=features["input_ids"], attention_mask=mask, **extra).last_hidden_state
        if found.causal:
            pooled = hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
        else:
            wide = mask[..., None].to(hidden.dtype)
            pooled = (hidden * wide).sum(1) / wide.sum(1)
        return {**features, "sentence_embedding": torch.nn.functional.normalize(pooled, dim=1)}


def features(columns, found):
    """Pad each column to its longest row, as sentence-transformers' collator does."""
    from lib.embedder.packing import padded

    for column in columns:
        ids, lengths = padded(column, 0, found.device)
        mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
        yield {"input_ids": ids, "attention_mask": mask}


def variants(arguments, found) -> dict:
    """Return name -> function of columns that leaves gradients and returns the loss."""
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

    from lib.kernels.lora import FusedLinear, Linear, fuse_lora
    from lib.params.model import TrainingParams
    from lib.train.gradcache import GradCache, StepTexts

    def set_lora(fused: bool) -> None:
        """Give the LoRA linears the fused forward, or peft's own back."""
        fuse_lora(found.model)
        for module in found.model.modules():
            if isinstance(module, FusedLinear) and not fused:
                module.__class__ = Linear

    def theirs(size):
        loss = CachedMultipleNegativesRankingLoss(torch.nn.Sequential(Theirs(found)), scale=SCALE, mini_batch_size=size)

        def run(columns):
            set_lora(False)
            value = loss([dict(f) for f in features(columns, found)], None)
            value.backward()
            return value.item()

        return run

    def ours(attention, keep, fused=True):
        params = TrainingParams(
            temperature=1 / SCALE, mask_duplicates=False, keep_graph_tokens=keep, micro_batch_tokens=arguments.tokens
        )

        def run(columns):
            set_lora(fused)
            rows = [row for column in columns for row in column]
            count = len(columns[0])
            texts = StepTexts(
                rows, list(range(count)), list(range(count, 2 * count)), list(range(2 * count, 3 * count))
            )
            return GradCache(found, params, attention=attention).run(texts).loss

        return run

    everything = {f"sentence-transformers cached, mini-batch {size}": theirs(size) for size in arguments.sizes}
    everything |= {
        "kit: sorted": ours("padded", 0, fused=False),
        "kit: sorted, fused LoRA": ours("padded", 0),
        f"kit: sorted, fused LoRA, graphs of {arguments.keep} tokens kept": ours("padded", arguments.keep),
        "kit: ragged, fused LoRA": ours("ragged", 0),
        f"kit: ragged, fused LoRA, graphs of {arguments.keep} tokens kept": ours("ragged", arguments.keep),
    }
    return {
        name: run for name, run in everything.items() if not arguments.only or any(o in name for o in arguments.only)
    }


def parity(found, runs, arguments) -> dict[str, list[float]]:
    """Return name -> [relative loss error, relative gradient error] against the first variant, on a small batch."""
    columns = triplets(arguments.case, 24, found, seed=99)
    first, table = None, {}
    for name, run in runs.items():
        found.model.zero_grad()
        loss = run(columns)
        grad = torch.cat([w.grad.flatten().float() for w in found.model.parameters() if w.requires_grad])
        first = first or (loss, grad)
        table[name] = [abs(loss / first[0] - 1), float((grad - first[1]).norm() / first[1].norm())]
        if arguments.dtype == "float32" and max(table[name]) > 1e-5:
            sys.exit(f"{name} is not the same function: relative errors {table[name]}; no time is worth reporting")
    return table


def others_share(before, after, wall: float) -> float:
    """Return the share of the machine that other processes took meanwhile, 0 to 1."""
    busy = (after[0] - before[0]) - (after[1] - before[1])
    return max(0.0, busy / (wall * (os.cpu_count() or 1)))


def clock():
    """Return (busy seconds of the machine, seconds of this process); (0, 0) where psutil is missing."""
    try:
        import psutil
    except ImportError:
        return 0.0, 0.0
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0), sum(os.times()[:2])


def measure(found, runs, arguments) -> list[dict]:
    """Time every variant once per round, interleaved."""
    columns = triplets(arguments.case, arguments.batch, found, seed=7)
    real = sum(len(row) for column in columns for row in column)
    rows = []
    for number in range(arguments.rounds):
        for name, run in runs.items():
            found.model.zero_grad()
            if arguments.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.synchronize()
            before, began, own = clock(), time.perf_counter(), time.process_time()
            run(columns)
            if arguments.device == "cuda":
                torch.cuda.synchronize()
            wall = time.perf_counter() - began
            row = {
                "round": number,
                "variant": name,
                "seconds": wall,
                "cpu_seconds": time.process_time() - own,
                "triplets_per_second": arguments.batch / wall,
                "tokens_per_second": real / wall,
                "real_tokens": real,
                "others": others_share(before, clock(), wall),
            }
            if arguments.device == "cuda":
                row["peak_gb"] = torch.cuda.max_memory_allocated() / 2**30
            rows.append(row)
            print(
                f"{name:70s} {wall:8.2f} s  cpu {row['cpu_seconds']:8.2f} s  "
                f"{row['triplets_per_second']:7.2f} triplets/s  others {row['others']:.0%}",
                flush=True,
            )
    return rows


def peak(runs, arguments) -> None:
    """Print the peak memory of one step of each variant, each in a process of its own."""
    table = {}
    for name in runs:
        command = [sys.executable, __file__, *[a for a in sys.argv[1:] if a != "--peak"], "--child", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        table[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:70s} peak {table[name]['peak_mb']:8.0f} MB, loaded {table[name]['loaded_mb']:.0f} MB", flush=True)
    if arguments.out:
        write(arguments.out, "peak", table)


def write(path: str, key: str, value) -> None:
    """Put a value into the JSON file at ``path``; rounds are added to those that are there."""
    file = Path(path)
    content = json.loads(file.read_text()) if file.exists() else {}
    content[key] = content.get(key, []) + value if key == "rounds" else value
    file.write_text(json.dumps(content, indent=1))


def ceiling(arguments) -> float:
    """Return the operations per second of a large matrix product on this device, the best of ten."""
    side = 8192 if arguments.device == "cuda" else 2048
    left, right = (
        torch.randn(side, side, device=arguments.device, dtype=getattr(torch, arguments.dtype)) for _ in range(2)
    )
    return (
        2 * side**3 / interleaved({"product": lambda: left @ right}, arguments.device, rounds=10)["product"]["seconds"]
    )


def step_operations(found) -> int:
    """Return the operations per real token that GradCache needs: three passes through the frozen linear layers."""
    linear = [m for m in found.core.modules() if isinstance(m, torch.nn.Linear) and not m.weight.requires_grad]
    return 3 * 2 * sum(m.weight.numel() for m in linear)


def summary(rows: list[dict], operations: int, most: float) -> None:
    """Print per variant the minimum, its ratio to the best of sentence-transformers, and its share of ``most``."""
    best = {}
    for row in rows:
        old = best.setdefault(row["variant"], dict(row))
        old["seconds"], old["cpu_seconds"] = (
            min(old["seconds"], row["seconds"]),
            min(old["cpu_seconds"], row["cpu_seconds"]),
        )
    theirs = [b for name, b in best.items() if name.startswith("sentence")]
    for name, b in best.items():
        ratios = (
            [min(t[k] for t in theirs) / b[k] for k in ("seconds", "cpu_seconds")] if theirs else [float("nan")] * 2
        )
        tokens = b["real_tokens"] / b["seconds"]
        print(
            f"{name:70s} min {b['seconds']:8.2f} s (x{ratios[0]:.2f})   cpu {b['cpu_seconds']:8.2f} s "
            f"(x{ratios[1]:.2f})   {tokens:7.0f} tokens/s, {operations * tokens / most:.0%} of the ceiling"
            + (f", {b['peak_gb']:.1f} GB" if "peak_gb" in b else "")
        )
    print(
        f"ceiling: a large matrix product, {most / 1e12:.3f} TFLOP/s; three forward passes per real token are counted"
    )


def main() -> None:
    """Parse, check parity, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", choices=["minilm", *SHAPES])
    parser.add_argument("--case", default="mixed", choices=list(CASES))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32], help="their mini-batch sizes")
    parser.add_argument("--tokens", type=int, default=0, help="our tokens per micro-batch; 0 chooses")
    parser.add_argument("--keep", type=int, default=20000, help="tokens whose graphs are kept")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="variants whose name holds one of these")
    parser.add_argument("--out", help="JSON file; rounds of several calls add up")
    parser.add_argument("--peak", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    found = build(arguments)
    runs = variants(arguments, found)
    if arguments.child:
        loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        runs[arguments.child](triplets(arguments.case, arguments.batch, found, seed=7))
        print(json.dumps({"loaded_mb": loaded, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return
    if arguments.peak:
        return peak(runs, arguments)
    checked = parity(found, runs, arguments)
    for name, (loss, gradient) in checked.items():
        print(f"{name:70s} relative error of the loss {loss:.0e}, of the gradient {gradient:.0e}")
    rows = measure(found, runs, arguments)
    if arguments.out:
        import peft
        import sentence_transformers
        import transformers

        versions = {m.__name__: m.__version__ for m in (torch, transformers, peft, sentence_transformers)}
        device = (
            torch.cuda.get_device_name(0) if arguments.device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
        )
        write(arguments.out, "setting", {**vars(arguments), "versions": versions, "device_name": device})
        write(arguments.out, "parity", checked)
        write(arguments.out, "rounds", rows)
        rows = json.loads(Path(arguments.out).read_text())["rounds"]
    summary(rows, step_operations(found), ceiling(arguments))


if __name__ == "__main__":
    main()
