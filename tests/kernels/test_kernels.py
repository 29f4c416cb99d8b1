"""The loss and the fused layers against plain float64 versions, and against peft."""

from __future__ import annotations

import copy

import plain_kernels as plain
import pytest
import torch

from lib.common.files import KitError
from lib.kernels import infonce as kernel
from lib.kernels.infonce import infonce
from lib.kernels.lora import LoraLinear, fuse_lora
from lib.kernels.pooling import pool, pool_ragged


def unit(rows, dim, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=1).to(dtype)


def gradients(function, query, texts, **settings):
    """Loss and both gradients of ``function``."""
    query, texts = query.clone().requires_grad_(), texts.clone().requires_grad_()
    loss = function(query, texts, **settings)
    loss.backward()
    return loss.detach(), query.grad, texts.grad


def close(got, want, tolerance):
    """Every tensor of ``got`` is within ``tolerance`` of ``want``'s, relative to the largest entry."""
    for one, other in zip(got, want, strict=True):
        error = (one.double() - other.double()).abs().max() / other.double().abs().max().clamp_min(1e-12)
        assert torch.isfinite(one).all() and error <= tolerance, f"relative error {error:.2e}"


SIZES = [(1, 1, 1), (1, 5, 3), (2, 2, 7), (7, 21, 13), (33, 67, 48), (64, 64, 384)]


@pytest.mark.parametrize("rows, columns, dim", SIZES)
def test_loss_equals_reference(rows, columns, dim, monkeypatch):
    monkeypatch.setattr(kernel, "STRIP", 3 * columns)  # several strips, the last one shorter
    query, texts = unit(rows, dim, 1), unit(columns, dim, 2)
    want = gradients(plain.infonce, query, texts, temperature=0.05)
    close(gradients(infonce, query, texts, temperature=0.05), want, 1e-12)
    close(gradients(infonce, query.float(), texts.float(), temperature=0.05), want, 2e-5)


def test_bfloat16_input_sums_in_fp32():
    query, texts = unit(50, 64, 3, torch.bfloat16), unit(150, 64, 4, torch.bfloat16)
    want = gradients(plain.infonce, query.double(), texts.double())
    loss, left, right = gradients(infonce, query, texts)
    assert loss.dtype == torch.float32 and left.dtype == right.dtype == torch.bfloat16
    close([loss], want[:1], 1e-6)
    close([left, right], want[1:], 2**-8)  # one rounding of the result, no more


@pytest.mark.parametrize("names", [["candidate_ids"], ["candidate_ids", "query_ids"]])
def test_masks_equal_reference(names):
    generator = torch.Generator().manual_seed(5)
    query, texts = unit(12, 9, 6), unit(36, 9, 7)
    every = dict(
        candidate_ids=torch.randint(0, 15, (36,), generator=generator),
        query_ids=torch.randint(10, 16, (12,), generator=generator),
    )
    settings = {name: every[name] for name in names} | dict(temperature=0.5)
    want = gradients(plain.infonce, query, texts, **settings)
    close(gradients(infonce, query, texts, **settings), want, 1e-12)
    free = gradients(plain.infonce, query, texts, temperature=0.5)
    assert abs(want[0] - free[0]) > 1e-6  # the mask changed something


def test_gradcheck():
    query, texts = unit(5, 4, 12).requires_grad_(), unit(11, 4, 13).requires_grad_()
    ids = torch.tensor([0, 1, 2, 3, 4, 0, 1, 5, 5, 6, 7])
    assert torch.autograd.gradcheck(lambda q, c: infonce(q, c, temperature=0.3, candidate_ids=ids), (query, texts))


def test_only_one_side_needs_a_gradient_and_large_scores_stay_finite():
    query, texts = 100 * unit(6, 8, 14), 100 * unit(18, 8, 15)
    query.requires_grad_()
    loss = infonce(query, texts)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(query.grad).all() and texts.grad is None
    with torch.no_grad():
        assert infonce(query, texts) == loss


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(temperature=0), "temperature"),
        (dict(temperature=-1.0), "temperature"),
        (dict(temperature=True), "temperature"),
        (dict(candidates=unit(6, 5, 1)), "dimensions"),
        (dict(candidates=unit(6, 4, 1).float()), "cast"),
        (dict(candidates=unit(2, 4, 1)), "positive first"),
        (dict(query=unit(3, 4, 1)[0]), "query"),
        (dict(query=unit(3, 4, 1)[:0]), "query"),
        (dict(backend="cuda"), "backend"),
        (dict(query_ids=torch.arange(3)), "candidate_ids"),
        (dict(candidate_ids=torch.arange(5)), "candidate_ids"),
        (dict(candidate_ids=torch.zeros(6)), "integers"),
        (dict(backend="triton"), "on a GPU"),
    ],
)
def test_bad_input_is_one_sentence(change, word):
    arguments = dict(query=unit(3, 4, 1), candidates=unit(6, 4, 2)) | change
    with pytest.raises(KitError, match=word) as caught:
        infonce(**arguments)
    assert "\n" not in str(caught.value)


# LoRA


def lora_model(dtype=torch.float32, **settings):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    stack = torch.nn.Sequential(torch.nn.Linear(24, 40), torch.nn.GELU(), torch.nn.Linear(40, 24, bias=False)).to(dtype)
    config = LoraConfig(target_modules=["0", "2"], r=4, lora_alpha=8, **settings)
    model = get_peft_model(stack, config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)  # peft starts at 0, where A gets no gradient
    return model


def outcome(model, x, seed=0):
    """Output, gradient of the input, and gradients of all trained weights."""
    torch.manual_seed(seed)
    model.zero_grad()
    x = x.clone().requires_grad_()
    out = model(x)
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
    return [out.detach(), x.grad] + [p.grad.clone() for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("settings", [{}, dict(use_rslora=True), dict(lora_dropout=0.3)])
@pytest.mark.parametrize("shape", [(24,), (5, 24), (2, 3, 24)])
def test_fused_lora_equals_peft(settings, shape):
    plain, fused = lora_model(**settings), lora_model(**settings)
    assert fuse_lora(fused) == 2 and fuse_lora(fused) == 0
    x = torch.randn(*shape)
    for training in (True, False):
        plain.train(training), fused.train(training)
        close(outcome(fused, x), outcome(plain, x), 1e-6)


def test_fused_lora_formula():
    x, weight, bias = torch.randn(3, 6), torch.randn(5, 6), torch.randn(5)
    a, b = torch.randn(2, 6), torch.randn(5, 2)
    for offset in (bias, None):
        want = plain.lora_linear(
            x.double(), weight.double(), None if offset is None else offset.double(), a.double(), b.double(), 0.5
        )
        close([LoraLinear.apply(x, weight, offset, a, b, 0.5)], [want], 1e-6)


def test_fused_lora_gradcheck():
    x, a, b = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 4), (2, 4), (5, 2)))
    weight, bias = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, a, b: LoraLinear.apply(x, weight, bias, a, b, 0.7), (x, a, b))


def test_fused_lora_keeps_peft_files(tmp_path):
    from peft import PeftModel
    from safetensors.torch import load_file

    model = lora_model()
    names = list(model.state_dict())
    model.save_pretrained(tmp_path / "peft")
    fuse_lora(model)
    model.save_pretrained(tmp_path / "fused")
    assert list(model.state_dict()) == names
    plain, fused = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("peft", "fused"))
    assert plain.keys() == fused.keys() and all(torch.equal(plain[key], fused[key]) for key in plain)
    again = PeftModel.from_pretrained(copy.deepcopy(model.unload()), tmp_path / "fused")
    fuse_lora(model := again)
    assert torch.isfinite(model(torch.randn(2, 24))).all()


def test_fused_lora_falls_back_where_peft_must_decide():
    x = torch.randn(4, 24)
    model = lora_model()
    from peft import LoraConfig

    model.add_adapter("second", LoraConfig(target_modules=["0", "2"], r=2, init_lora_weights=False))
    plain = copy.deepcopy(model)
    fuse_lora(model)
    for prepare in (
        lambda m: m.set_adapter("second"),
        lambda m: m.base_model.set_adapter(["default", "second"]),
        lambda m: m.base_model.disable_adapter_layers(),
        lambda m: m.base_model.enable_adapter_layers(),
        lambda m: m.merge_adapter(),
        lambda m: m.unmerge_adapter(),
    ):
        prepare(model), prepare(plain)
        close([model(x)], [plain(x)], 1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(x), plain(x))


def test_dora_and_trained_base_stay_with_peft():
    assert fuse_lora(lora_model()) == 2
    model = lora_model(use_dora=True)
    fuse_lora(model)
    plain = lora_model(use_dora=True)
    x = torch.randn(3, 24)
    close(outcome(model, x), outcome(plain, x), 1e-6)
    trained, plain = lora_model(bias="all"), lora_model(bias="all")
    fuse_lora(trained)
    close(outcome(trained, x), outcome(plain, x), 1e-6)


def test_bf16_base_keeps_no_fp32_copy_of_inputs():
    saved = []
    model = lora_model(torch.bfloat16)
    x = torch.randn(64, 24, dtype=torch.bfloat16, requires_grad=True)
    want = [g.float() for g in outcome(model, x.detach())]

    def keep(tensor):
        saved.append(tensor)
        return tensor

    def fp32_inputs():
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            model(x)
        return [t for t in saved if t.dtype == torch.float32 and t.shape[0] == 64 and t.shape[-1] in (24, 40)]

    assert fp32_inputs()  # peft keeps them
    fuse_lora(model)
    assert not fp32_inputs()
    close(outcome(model, x.detach()), want, 0.03)


# pooling


@pytest.mark.parametrize("mode", ["mean", "cls", "last"])
def test_pooling_padded_and_ragged(mode):
    lengths = torch.tensor([1, 7, 4, 7, 2])
    hidden = torch.randn(5, 7, 10, dtype=torch.float64)
    ragged = torch.cat([row[:n] for row, n in zip(hidden, lengths.tolist(), strict=True)])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    results = []
    for function, states, where in (
        (plain.pool, hidden, lengths),
        (pool, hidden, lengths),
        (pool_ragged, ragged, offsets),
        (pool_ragged, ragged[None], offsets),
    ):
        states = states.clone().requires_grad_()
        pooled = function(states, where, mode)
        (pooled * torch.arange(50).view(5, 10)).sum().backward()
        grad = states.grad if states.dim() == 3 and len(states) == 5 else None
        real = (
            states.grad.view(-1, 10)
            if grad is None
            else torch.cat([row[:n] for row, n in zip(grad, lengths.tolist(), strict=True)])
        )
        results.append((pooled.detach(), real))
    for got in results[1:]:
        close(got, results[0], 1e-12)
    low = pool(hidden.bfloat16(), lengths, mode)
    assert low.dtype == torch.float32
    close([low], [plain.pool(hidden.bfloat16().double(), lengths, mode)], 1e-6)


def test_pooling_refuses_nonsense():
    with pytest.raises(KitError, match="pooling"):
        pool(torch.zeros(1, 2, 3), torch.tensor([1]), "max")
    with pytest.raises(KitError, match="lengths"):
        pool(torch.zeros(2, 2, 3), torch.tensor([1]), "mean")


def test_loss_holds_far_less_than_the_score_matrix():
    """The largest tensor made by forward and backward stays a strip, whatever B x C is."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        entries = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            made = [x for x in (out if isinstance(out, tuple | list) else [out]) if torch.is_tensor(x)]
            self.entries = max([self.entries] + [x.numel() for x in made])
            return out

    for rows in (1024, 4096):
        query, texts = unit(rows, 4, 1, torch.float32).requires_grad_(), unit(2 * rows, 4, 2, torch.float32)
        with Largest() as largest:
            infonce(query, texts.requires_grad_()).backward()
        assert largest.entries <= kernel.STRIP < 2 * rows * rows or rows == 1024
        assert largest.entries < 2 * rows * rows
