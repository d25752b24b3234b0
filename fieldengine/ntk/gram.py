"""The kernel matrix of a few hundred points, layer by layer, without a Jacobian."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fieldengine.kinds.field import GradientsByRow
from fieldengine.ntk.outer import add_of_outer_products, of_gradients, of_sparse_gradients
from fieldengine.ntk.products import trainable
from fieldengine.ntk.rows import Whole, inner_products
from fieldengine.ntk.taps import Captured, LinearMap, listen
from fieldengine.ntk.threads import alone_if
from fieldengine.ops.formula import surrogate_gradients
from fieldengine.precision import matrix_products

SMALL = 1 << 25  # multiply-adds, about, of all points' way through the layers: a millisecond or two
MOST_OF_ONE = 1 << 16  # of a parameter: from a larger one, a table, a point mostly takes a few numbers


def gram(
    module: nn.Module,
    values: Callable[[Tensor], Tensor],
    points: Tensor,
    *,
    per_group: int = 1,
    warn: Callable[[str], None] | None = None,
) -> Tensor:
    """K_ij = <ds_i/dθ, ds_j/dθ> with s_i = (sum of the c values at point i) / sqrt(c), θ the trainable parameters.

    A linear map with inputs a and
    cotangents d of its outputs adds (d_i . d_j)(a_i . a_j), and its bias d_i . d_j, so one forward and one backward
    pass of all points together are enough (Novak et al. 2022, Fast Finite Width Neural Tangent Kernel). So it is for
    every use of `torch.nn.functional.linear`, whoever calls it, also if a weight is used several times; modules with
    other parameters may offer `fieldengine.api.GradientsByRow`. Parameters that nobody answers for go the slow way:
    gradients row by row of their own layer, or of the whole network where that is not enough.

    Computed in the points' precision whatever `training.precision` says. Carries no gradient, and leaves gradients,
    modes and random numbers as they are.

    Args:
        module: whose trainable parameters count.
        values: (m, d) points -> (m, ...) values, of any m. Row i of what a layer of the module gets belongs to point i
            alone; d may hold more than places, such as directions.
        points: (n k, d), the k points of a group one after the other.
        per_group: k; s is then summed over a group.
        warn: is called once for each slow way, with a sentence that names its parameters.

    Returns:
        (n, n).

    Raises ValueError where groups are not whole, values are not a row a point, or rows depend on each other.
    """
    n, rest = divmod(len(points), max(1, per_group))
    if rest or per_group < 1:
        raise ValueError(f"{len(points)} points are no whole number of groups of {per_group}")
    # not by isinstance: that reads a protocol's members anew for every module, and would take a tenth of the time
    mixing = [m for m in module.modules() if m.training and getattr(m, "mixes_rows", False)]
    if mixing:
        raise ValueError(f"{type(mixing[0]).__name__} mixes points in training mode; call eval() first")
    points, wanted = points.detach(), trainable(module)
    parameters = list(wanted.values())
    total = points.new_zeros(n, n, dtype=parameters[0].dtype if parameters else points.dtype)
    if n == 0:
        return total
    small = len(points) * sum(min(p.numel(), MOST_OF_ONE) for p in parameters) < SMALL
    with alone_if(small), surrogate_gradients(), matrix_products("float32", points.device), torch.enable_grad():
        knowing = [m for m in module.modules() if issubclass(type(m), GradientsByRow) and _knows_all(m)]
        captured = listen(values, points, _but_of(knowing, parameters), knowing)
        unsupported = {p for m in captured.unsupported for p in m.parameters(recurse=False)}
        unmatched = {name: p for name, p in wanted.items() if p in captured.others or p in unsupported}
        if unmatched:
            owners = [m for m in module.modules() if any(p in unsupported or p in captured.others for p in own(m))]
            knowing = [m for m in knowing if m not in owners]
            captured = listen(values, points, _but_of(knowing, parameters), [*knowing, *owners])
        _add_by_rule(total, captured, knowing, set(unmatched.values()))
        for part in _by_row(captured, Whole(module, values), points, unmatched, n, warn or _say_nothing):
            total += part
    mirrored = total.t().contiguous().tril_(-1)
    return total.triu_().add_(mirrored)


def own(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that a module holds itself, and trains."""
    return [p for p in module.parameters(recurse=False) if p.requires_grad]


def _knows_all(module: nn.Module) -> bool:
    """Whether the module's answer is for what is trained, no more and no less."""
    frozen = any(not p.requires_grad for p in module.parameters(recurse=False))
    return bool(own(module)) and not frozen and not parametrize.is_parametrized(module)


def _but_of(modules: Collection[nn.Module], parameters: Collection[nn.Parameter]) -> list[nn.Parameter]:
    answered = {p for module in modules for p in own(module)}
    return [p for p in parameters if p not in answered]


def _say_nothing(_: str) -> None:
    pass


# ----------------------------------------------------------------------------------------------------------- by rule


def _add_by_rule(total: Tensor, captured: Captured, knowing: Collection[Any], unmatched: Collection[Tensor]) -> None:
    """Add what parameters other than the unmatched ones do to the upper triangle of the kernel (n, n)."""
    n = len(total)
    weights, biases = (_calls_of(captured.maps, name, unmatched) for name in ("weight", "bias"))
    for calls in weights:
        a, d = (_of_items([getattr(captured.maps[i], name) for i in calls], n) for name in ("inputs", "outputs"))
        add_of_outer_products(total, a, d, bias=calls in biases)
    for calls in biases:
        if calls not in weights:
            total += of_gradients(_of_items([captured.maps[i].outputs for i in calls], n).sum(1))
    for module in knowing:
        answers = [module.gradients_by_row(c.inputs, c.outputs) for c in captured.layers if c.layer is module]
        for parts in zip(*answers, strict=True):  # of a block of parameters, by the module's calls
            if isinstance(parts[0], tuple):
                add_of_outer_products(total, *(_of_items([part[i] for part in parts], n) for i in (0, 1)))
                continue
            gradients = functools.reduce(torch.add, parts)
            sparse = gradients.is_sparse
            total += of_sparse_gradients(gradients, n) if sparse else of_gradients(_of_items([gradients], n).sum(1))


def _calls_of(maps: Sequence[LinearMap], name: str, unmatched: Collection[Tensor]) -> list[tuple[int, ...]]:
    """For each tapped weight, or each bias, the numbers of the calls that used it."""
    calls: dict[Tensor, list[int]] = {}
    for i, linear in enumerate(maps):
        parameter = getattr(linear, name)
        if parameter is not None and parameter not in unmatched:
            calls.setdefault(parameter, []).append(i)
    return [tuple(found) for found in calls.values()]


def _of_items(parts: Sequence[Tensor], n: int) -> Tensor:
    """Of several calls (m, ..., p) -> (n, r, p), the r rows of each item, those of all calls together."""
    found = [part.reshape(n, -1, part.shape[-1]) for part in parts]
    return found[0] if len(found) == 1 else torch.cat(found, dim=1)


# --------------------------------------------------------------------------------------------------- row by row


def _by_row(
    captured: Captured,
    whole: Whole,
    points: Tensor,
    unmatched: Mapping[str, nn.Parameter],
    n: int,
    warn: Callable[[str], None],
) -> Iterator[Tensor]:
    """What the unmatched parameters add: by their own layer, or by the whole field if they have uses elsewhere."""
    rest = dict(unmatched)
    for layer in dict.fromkeys(call.layer for call in captured.layers):
        mine = set(own(layer))
        some = {name: p for name, p in rest.items() if p in mine and p in captured.others}
        calls = [call for call in captured.layers if call.layer is layer]
        if not some or len(calls) != 1 or layer in captured.unsupported:
            continue
        added = torch.cat([captured.others[p].to_dense().flatten() for p in some.values()])
        part = inner_products(layer, list(some.values()), calls[0].inputs, calls[0].outputs, n, added)
        if part is not None:
            warn(f"no rule for {', '.join(some)}: the gradients of {type(layer).__name__} are taken row by row")
            yield part
            rest = {name: p for name, p in rest.items() if name not in some}
    if rest:
        warn(f"no rule for {', '.join(rest)}: gradients are taken point by point, through the whole field")
        part = inner_products(whole, list(rest.values()), points, captured.cotangent, n)
        assert part is not None
        yield part
