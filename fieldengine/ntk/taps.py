"""What goes into each layer and what back-propagation brings to its outputs, from one forward and one backward pass.

Linear maps are captured wherever they are computed, by their weights and not by the module that holds them. A tap is a
constant that is added to a layer's output, zeros or the bias; the gradient in it is the cotangent of the output, also
where the output is changed in place later. A weight that is tapped is taken out of the graph, so a parameter with a
gradient in the end was used in some other way too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@dataclass
class LinearMap:
    """A call of a linear map.

    Attributes:
        inputs, outputs: (m, ..., in), and (m, ..., out) cotangents.
        weight, bias: the tapped parameters, None where one is absent or was not asked for.
    """

    inputs: Tensor
    outputs: Tensor
    weight: Tensor | None
    bias: Tensor | None


@dataclass
class LayerCall:
    """A call of a tapped module: inputs (m, ...), and cotangents of its outputs (m, ...)."""

    layer: nn.Module
    inputs: Tensor
    outputs: Tensor


Call = partial[LinearMap] | partial[LayerCall]  # without its outputs' cotangents, which come later


@dataclass
class Captured:
    """What one pass captured.

    Attributes:
        cotangent: of the values.
        others: the gradient of each parameter that has uses besides those in `maps`, all of its uses but those.
        unsupported: tapped modules that were called in another way than with one tensor of rows for one tensor of rows.
    """

    cotangent: Tensor
    maps: list[LinearMap]
    layers: list[LayerCall]
    others: dict[Tensor, Tensor]
    unsupported: set[nn.Module]


def listen(
    values: Callable[[Tensor], Tensor], points: Tensor, parameters: Collection[Tensor], modules: Collection[nn.Module]
) -> Captured:
    """Run values (m, ...) at points (m, d) forward, and back the sum of s over points, s = (sum of c values) / sqrt(c).

    Args:
        parameters: those whose uses are asked for.
        modules: those whose calls are tapped.
    """
    taps = _Taps(len(points), parameters)
    with taps.at(modules), taps:
        y = values(points)
    if len(y) != len(points):
        raise ValueError(f"values of {len(points)} points have the shape {tuple(y.shape)}; they need a row a point")
    g = torch.full_like(y, max(1, y[:1].numel()) ** -0.5)
    wanted = [*(tap for _, tap in taps.captured), *parameters]
    found = torch.autograd.grad(y, wanted, g, allow_unused=True) if y.requires_grad and wanted else [None] * len(wanted)
    others = {p: rest for p, rest in zip(parameters, found[len(taps.captured) :], strict=True) if rest is not None}
    calls = [call(outputs=d) for (call, _), d in zip(taps.captured, found, strict=False) if d is not None]
    maps = [call for call in calls if isinstance(call, LinearMap)]
    return Captured(g, maps, [call for call in calls if isinstance(call, LayerCall)], others, taps.unsupported)


class _Taps(TorchFunctionMode):
    def __init__(self, m: int, parameters: Collection[Tensor]):
        super().__init__()
        self.m, self.parameters = m, set(parameters)
        self.captured: list[tuple[Call, Tensor]] = []
        self.unsupported: set[nn.Module] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # without gradients inside a function of its own, whose backward speaks for it
        if func is functional.linear and torch.is_grad_enabled():
            return self.linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        asked = [p if p is not None and p in self.parameters else None for p in (weight, bias)]
        if not any(p is not None for p in asked) or input.ndim < 2 or len(input) != self.m:
            return functional.linear(input, weight, bias)
        call = partial(LinearMap, inputs=input.detach(), weight=asked[0], bias=asked[1])
        plain = weight if asked[0] is None else weight.detach()
        shift = bias if asked[1] is None or bias is None else bias.detach()
        if input.ndim > 2 or (shift is not None and shift.requires_grad):
            return self.tapped(call, functional.linear(input, plain, shift))
        # the bias itself, row by row, is the tap: one pass over memory less
        shift = input.new_zeros(()) if shift is None else shift
        return torch.addmm(self.tap(call, shift.expand(len(input), len(weight))), input, plain.t())

    @contextmanager
    def at(self, modules: Collection[nn.Module]) -> Iterator[None]:
        """Inside the block calls of these modules are captured."""
        hooks = [module.register_forward_hook(self.called, with_kwargs=True) for module in modules]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def called(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], y: Any) -> Any:
        rows = [t for t in (*args, y) if isinstance(t, Tensor) and t.ndim and len(t) == self.m]
        if kwargs or len(args) != 1 or len(rows) != 2:
            self.unsupported.add(layer)
            return None
        return self.tapped(partial(LayerCall, layer, inputs=rows[0].detach()), rows[1])

    def tapped(self, call: Call, y: Tensor) -> Tensor:
        return y + self.tap(call, y.new_zeros(()).expand(y.shape))

    def tap(self, call: Call, constant: Tensor) -> Tensor:
        """What is added to the outputs of a call, as a variable of its own."""
        self.captured.append((call, constant.detach().requires_grad_()))
        return self.captured[-1][1]
