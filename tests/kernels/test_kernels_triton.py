"""The Triton loss against the plain float64 version: on a GPU where there is one, else under Triton's interpreter.

The interpreter must be chosen before triton is first imported, which other tests may already have done, so the
tests of this file run in a process of their own that ``test_in_a_fresh_process`` starts.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import plain_kernels as plain
import pytest
import torch

from lib.kernels.infonce import infonce

pytest.importorskip("triton")
KERNELS = Path(__file__).resolve().parents[2] / "lib" / "kernels"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
READY = DEVICE == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
inside = pytest.mark.skipif(not READY, reason="runs in the process that test_in_a_fresh_process starts")


@pytest.mark.slow
@pytest.mark.skipif(READY, reason="already under the interpreter or on a GPU")
def test_in_a_fresh_process():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 20  # they ran and were not skipped


def test_no_inline_assembly_and_no_tf32():
    for path in KERNELS.glob("*.py"):
        text = path.read_text()
        assert not re.search(r"inline_asm|asm_elementwise|libdevice|extern_elementwise", text), path
        assert text.count("tl.dot(") == text.count('input_precision="ieee"'), path


def fresh(rows, columns, dim, dtype):
    """New random unit vectors each run; the seed is printed when a test fails."""
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed", seed)
    generator = torch.Generator().manual_seed(seed)
    both = [torch.nn.functional.normalize(torch.randn(n, dim, generator=generator), dim=1) for n in (rows, columns)]
    return [x.to(DEVICE, dtype) for x in both], generator


def gradients(function, query, texts, **settings):
    query, texts = query.clone().requires_grad_(), texts.clone().requires_grad_()
    loss = function(query, texts, **settings)
    loss.backward()
    return loss.detach(), query.grad, texts.grad


def close(got, want, tolerance):
    for one, other in zip(got, want, strict=True):
        error = (one.double() - other).abs().max() / other.abs().max().clamp_min(1e-12)
        assert torch.isfinite(one).all() and error <= tolerance, f"relative error {error:.2e}"


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch):
    """Every buffer that the kernels write is full of NaN first, so an entry never written shows."""
    for name in ("empty", "empty_like"):
        plain = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *a, _plain=plain, **k: _poison(_plain(*a, **k)))
    plain_new = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, *a, **k: _poison(plain_new(self, *a, **k)))


def _poison(tensor):
    return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor


SIZES = [(1, 1, 1), (1, 7, 5), (3, 3, 17), (17, 31, 33), (65, 129, 70), (130, 131, 100), (40, 300, 384)]


@inside
@pytest.mark.parametrize("rows, columns, dim", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_triton_equals_reference(rows, columns, dim, dtype, monkeypatch):
    from lib.kernels import infonce_triton

    monkeypatch.setattr(infonce_triton, "SLAB", 20 * columns)  # several slabs, the last one shorter
    (query, texts), _ = fresh(rows, columns, dim, dtype)
    want = gradients(plain.infonce, query.double(), texts.double(), temperature=0.05)
    got = gradients(infonce, query, texts, temperature=0.05, backend="triton")
    assert got[0].dtype == torch.float32 and got[1].dtype == got[2].dtype == dtype
    tolerance = {torch.float32: 2e-5, torch.bfloat16: 2**-6, torch.float16: 2**-9}[dtype]
    for one, other, relative in zip(got, want, (2e-5, tolerance, tolerance), strict=True):
        assert torch.isfinite(one).all()
        # the floor is for a lone candidate, whose loss and gradients are zero
        assert (one.double() - other).abs().max() <= relative * other.abs().max() + 2e-5


@inside
def test_masks_and_one_sided_gradients():
    (query, texts), generator = fresh(37, 90, 24, torch.float32)
    settings = dict(
        candidate_ids=torch.randint(0, 40, (90,), generator=generator),
        query_ids=torch.randint(35, 50, (37,), generator=generator),
        temperature=0.3,
    )
    settings = {key: value.to(DEVICE) if torch.is_tensor(value) else value for key, value in settings.items()}
    want = gradients(plain.infonce, query.double(), texts.double(), **settings)
    close(gradients(infonce, query, texts, backend="triton", **settings), want, 2e-5)
    close(gradients(infonce, query, texts, backend="torch", **settings), want, 2e-5)
    query.requires_grad_()
    infonce(query, texts, backend="triton", **settings).backward()
    close([query.grad], want[1:2], 2e-5)


@inside
def test_a_query_that_sees_only_its_positive_has_no_loss():
    (query, texts), _ = fresh(20, 200, 16, torch.float32)
    ids = torch.zeros(200, dtype=torch.int64, device=DEVICE)  # every candidate is a copy of every positive
    loss, left, right = gradients(infonce, query, texts, candidate_ids=ids, backend="triton")
    assert loss.abs() < 1e-4 and left.abs().max() < 1e-3 and right.abs().max() < 1e-3
