"""The peft layer with the fused forward (apart from ``lora`` because importing peft takes seconds)."""

from __future__ import annotations

import torch
from peft.tuners.lora.layer import Linear

from lib.kernels.lora import LoraLinear


def fusable(module: torch.nn.Module) -> bool:
    """Return True for a peft LoRA layer around a plain nn.Linear, not fused yet."""
    return type(module) is Linear and type(module.base_layer) is torch.nn.Linear and not module.fan_in_fan_out


class FusedLinear(Linear):
    """peft's LoRA linear whose forward is one operation wherever that is the same function."""

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        """Return base(x) plus the active adapter's low-rank part; peft's forward in every special case."""
        name = self._plain_adapter(x) if not args and not kwargs else None
        if name is None:
            return super().forward(x, *args, **kwargs)
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        dropout = self.lora_dropout[name]
        dropped = dropout(x) if self.training and getattr(dropout, "p", 0) > 0 else None
        base = self.base_layer
        return LoraLinear.apply(x, dropped, base.weight, base.bias, a, b, float(self.scaling[name]))

    def _plain_adapter(self, x: torch.Tensor) -> str | None:
        """Return the name of the one active vanilla adapter, or None where peft's own forward must run."""
        if self.disable_adapters or self.merged or torch.is_autocast_enabled(x.device.type):
            return None
        active = [name for name in self.active_adapters if name in self.lora_A]
        if len(active) != 1 or active[0] in self.lora_variant or self.lora_bias.get(active[0], False):
            return None
        base = self.base_layer
        frozen = not base.weight.requires_grad and (base.bias is None or not base.bias.requires_grad)
        return active[0] if frozen and x.dtype == base.weight.dtype else None
