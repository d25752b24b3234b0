"""Products with the Jacobian and its transpose, a tile of points at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fieldengine.errors import is_out_of_memory
from fieldengine.ops.formula import surrogate_gradients
from fieldengine.precision import matrix_products

Values = Callable[[Tensor], Tensor]
Parameters = Mapping[str, nn.Parameter]
Direction = Mapping[str, Tensor]

TILE = 4096
AGREE = 1e-3  # of the sum of the sizes of what is compared
OF_THE_PARAMETERS = 1e-3  # how far differences go: further is no longer straight, less is lost in float32's rounding


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a module that need gradients, each once, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def vjp(module: nn.Module, values: Values, points: Tensor, cotangent: Tensor, *, tile: int = TILE) -> dict[str, Tensor]:
    """Jᵀ g: the gradient of <values, cotangent> in the parameters, in float32 whatever `training.precision` says.

    Leaves the parameters' own `.grad` alone.

    Args:
        module: whose trainable parameters count.
        values: (m, d) points -> (m, ...) values, each row of its point alone.
        points: (n, d).
        cotangent: (n, ...), as the values.
        tile: how many points are back-propagated at once.

    Returns:
        A tensor for each trainable parameter, by name, zero where the values do not depend on it.
    """
    parameters = trainable(module)
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    with surrogate_gradients(), matrix_products("float32", points.device), torch.enable_grad():
        for x, g in zip(points.detach().split(tile), cotangent.detach().split(tile), strict=True):
            y = values(x)
            for total, found in zip(sums.values(), _gradients(y, parameters, g), strict=True):
                if found is not None:
                    total += found
    return {name: total.detach() for name, total in sums.items()}


def jvp(
    module: nn.Module,
    values: Values,
    points: Tensor,
    direction: Direction,
    *,
    tile: int = TILE,
    warn: Callable[[str], None] = lambda _: None,
) -> Tensor:
    """J v: how the values at points change along a direction in the parameters, (n, ...) as the values.

    Always the transpose of `vjp`, <u, J v> = <Jᵀ u, v>, of layers too that hide a part of their slope from
    back-propagation; so forward mode, which would see it, is not used. Jᵀ u is linear in u, and J v is the gradient
    of <Jᵀ u, v> in u. About as slow as two gradients. Where that cannot be differentiated, as behind operations of
    somebody's own, differences of two values take its place, right to about three digits.

    Args:
        direction: a tensor for each trainable parameter, by name, as `vjp` returns them; a name that is left out
            counts as zero.
        module, values, points, tile: as for `vjp`.
        warn: is called with a sentence where differences are taken.

    Raises ValueError where the direction names what is no trainable parameter.
    """
    parameters = trainable(module)
    unknown = direction.keys() - parameters.keys()
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: no trainable parameter of this {type(module).__name__}")
    parameters = {name: parameter for name, parameter in parameters.items() if name in direction}
    if not len(points):
        return values(points).detach()
    tiles = points.detach().split(tile)
    with surrogate_gradients(), matrix_products("float32", points.device):
        try:
            first = _by_transpose(values, tiles[0], parameters, direction)
            _refuse_what_is_no_transpose(values, tiles[0], parameters, direction, first)
            return torch.cat([first, *(_by_transpose(values, x, parameters, direction) for x in tiles[1:])])
        except RuntimeError as reason:
            if is_out_of_memory(reason):
                raise
            warn(f"no second derivative of {type(module).__name__} ({reason}): differences of values stand for it")
            return torch.cat([_by_differences(values, x, parameters, direction) for x in tiles])


@torch.enable_grad()
def _by_transpose(values: Values, x: Tensor, parameters: Parameters, direction: Direction) -> Tensor:
    y = values(x)
    u = torch.zeros_like(y, requires_grad=True)
    slopes = _gradients(y, parameters, u, create_graph=True)
    pairs = [(s, direction[name]) for s, name in zip(slopes, parameters, strict=True) if s is not None]
    pairs = [(s, v) for s, v in pairs if s.requires_grad]
    if not pairs:
        return torch.zeros_like(y)
    gradients, along = [s for s, _ in pairs], [v.to(s) for s, v in pairs]
    (change,) = torch.autograd.grad(gradients, u, along, allow_unused=True)
    return torch.zeros_like(y) if change is None else change.detach()


@torch.enable_grad()
def _refuse_what_is_no_transpose(
    values: Values, x: Tensor, parameters: Parameters, direction: Direction, change: Tensor
) -> None:
    """Raise RuntimeError where <J v, J v> is not <Jᵀ J v, v>.

    So it is where a part of the way back is outside of torch's graph, which autograd passes over in silence.
    """
    slopes = _gradients(values(x), parameters, change)
    found = zip(slopes, parameters, strict=True)
    products = [(s.to_dense().conj() * direction[name].to(s).to_dense()).real for s, name in found if s is not None]
    back, size = sum(float(p.sum()) for p in products), sum(float(p.abs().sum()) for p in products)
    if abs(back - float(change.abs().square().sum())) > AGREE * size:
        raise RuntimeError("a gradient of its parameters has none itself")


@torch.no_grad()
def _by_differences(values: Values, x: Tensor, parameters: Parameters, direction: Direction) -> Tensor:
    """(f(θ + h v) - f(θ - h v)) / 2 h, with h v a thousandth of θ; θ is put back to the bit."""
    along = {parameter: direction[name].to(parameter) for name, parameter in parameters.items()}
    saved = {parameter: parameter.clone() for parameter in along}
    size = sum(float(v.abs().square().sum()) for v in along.values()) ** 0.5
    scale = sum(float(p.abs().square().sum()) for p in saved.values()) ** 0.5
    h = OF_THE_PARAMETERS * (scale or 1.0) / (size or 1.0)
    try:
        sides = []
        for sign in (1.0, -1.0):
            for parameter, v in along.items():
                parameter.copy_(saved[parameter] + sign * h * v)
            sides.append(values(x))
        return (sides[0] - sides[1]) / (2.0 * h)
    finally:
        for parameter, before in saved.items():
            parameter.copy_(before)


def _gradients(
    y: Tensor, parameters: Parameters, g: Tensor, *, create_graph: bool = False
) -> tuple[Tensor | None, ...]:
    if not y.requires_grad or not parameters:
        return (None,) * len(parameters)
    return torch.autograd.grad(y, list(parameters.values()), g, create_graph=create_graph, allow_unused=True)
