"""LoRA linears as one operation: the low-rank part is added inside the base product's output.

peft computes base(x), casts x to the adapter's fp32, multiplies twice, scales and adds: four passes over
activations where one is enough, and an fp32 copy of every input kept for the backward pass. Here the output is
written once, added to in place, and no copy is kept. peft's modules, parameter names and files do not change.
"""

from __future__ import annotations

import torch
from peft.tuners.lora.layer import Linear
from torch.autograd.function import once_differentiable


class LoraLinear(torch.autograd.Function):
    """x W^T + bias + scaling * x A^T B^T with W and bias frozen."""

    @staticmethod
    def forward(ctx, x, weight, bias, lora_a, lora_b, scaling):
        """x (..., in); weight (out, in); lora_a (r, in); lora_b (out, r); returns (..., out) in x's dtype."""
        flat = x.reshape(-1, x.shape[-1])
        a, b = lora_a.to(x.dtype), lora_b.to(x.dtype)
        low = flat @ a.T
        out = flat @ weight.T if bias is None else torch.addmm(bias, flat, weight.T)
        out.addmm_(low, b.T, alpha=scaling)
        ctx.save_for_backward(flat, weight, a, b, low)
        ctx.scaling, ctx.shape, ctx.dtypes = scaling, x.shape, (lora_a.dtype, lora_b.dtype)
        return out.view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        """Gradients of x, A and B; none for the frozen weight and bias."""
        flat, weight, a, b, low = ctx.saved_tensors
        grad = grad.reshape(-1, len(weight))
        grad_low = grad @ b
        grad_x = grad_a = grad_b = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(grad_low, a, alpha=ctx.scaling).view(ctx.shape)
        if ctx.needs_input_grad[3]:
            grad_a = (grad_low.T @ flat).to(ctx.dtypes[0]).mul_(ctx.scaling)
        if ctx.needs_input_grad[4]:
            grad_b = (grad.T @ low).to(ctx.dtypes[1]).mul_(ctx.scaling)
        return grad_x, None, None, grad_a, grad_b, None


class FusedLinear(Linear):
    """peft's LoRA linear whose forward is one operation wherever that is the same function."""

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        """Return base(x) plus the active adapter's low-rank part; peft's forward in every special case."""
        name = self._plain_adapter(x) if not args and not kwargs else None
        if name is None:
            return super().forward(x, *args, **kwargs)
        base, a, b = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
        return LoraLinear.apply(x, base.weight, base.bias, a, b, float(self.scaling[name]))

    def _plain_adapter(self, x: torch.Tensor) -> str | None:
        """Return the name of the one active vanilla adapter, or None where peft's own forward must run."""
        if self.disable_adapters or self.merged or torch.is_autocast_enabled(x.device.type):
            return None
        active = [name for name in self.active_adapters if name in self.lora_A]
        if len(active) != 1 or active[0] in self.lora_variant or self.lora_bias.get(active[0], False):
            return None
        dropout = self.training and getattr(self.lora_dropout[active[0]], "p", 0) > 0
        base = self.base_layer
        frozen = not base.weight.requires_grad and (base.bias is None or not base.bias.requires_grad)
        return active[0] if frozen and not dropout and x.dtype == base.weight.dtype else None


def fuse_lora(model: torch.nn.Module) -> int:
    """Switch every plain peft LoRA linear of ``model`` to the fused forward, in place; return how many.

    Only a module's class changes, so state_dict, save_pretrained, set_adapter and merging work as before. Layers
    that are not plain LoRA (DoRA and other variants, a LoRA bias, quantised or Conv1D bases) stay peft's, and a
    fused layer calls peft's own forward whenever adapters are disabled, merged, mixed, or more than one is active,
    under autocast or dropout, and where the base weight is trained.
    """
    layers = [
        layer
        for layer in model.modules()
        if type(layer) is Linear and type(layer.base_layer) is torch.nn.Linear and not layer.fan_in_fan_out
    ]
    for layer in layers:
        layer.__class__ = FusedLinear
    return len(layers)
