"""Every operation on the device, through the normal dispatch, against its reference in float64 on the CPU.

Values, gradients, and second gradients where they exist. In float32 the error may be SLACK times that of the reference
itself in float32 on the CPU, for the same inputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldengine import ops
from fieldengine.ops.backends import Record
from gpu.cases import SMALL, STEP, Arguments, Case, Size, activations, cases
from gpu.comparing import ORDERS, Outcome, errors, judged
from gpu.counting import counted
from gpu.rows import Check, Plan, Row
from gpu.timing import milliseconds

SLACK = 8.0  # times the reference's own error in float32
EXACT = 1e-9  # relative error in float64
NO_INPUTS = "no inputs are known for it; add them to tools/gpu/cases.py"


def checks(plan: Plan) -> list[Check]:
    """Small inputs in both precisions, then inputs as large as in a training step in float32, which are timed."""
    timed = SMALL if plan.quick else STEP
    found = [check(plan, SMALL, case) for case in cases(SMALL, (2,) if plan.quick else (1, 2, 4, 8))]
    if not plan.quick:
        found += [check(plan, STEP, case) for case in cases(STEP)]
    try:
        found += [check(plan, timed, case) for case in activations(timed)]
    except ImportError as reason:
        found.append(refused("pointwise of the activations", reason))
    known = {check.what.split(" ")[0] for check in found}
    return found + [refused(name, LookupError(NO_INPUTS)) for name in operations() if name not in known]


def operations() -> list[str]:
    """The names of all functions with a reference."""
    return sorted(name for name in dir(ops) if hasattr(getattr(ops, name), "reference"))


def check(plan: Plan, size: Size, case: Case) -> Check:
    what = " ".join(part for part in (case.operation, case.note, f"({size.name})") if part)
    return Check(what, lambda _: rows(plan, size, case, what))


def refused(what: str, reason: Exception) -> Check:
    def run(_: float) -> Iterator[Row]:
        raise reason

    return Check(what, run)


def rows(plan: Plan, size: Size, case: Case, what: str) -> Iterator[Row]:
    """One row in float32, and for small inputs one in float64."""
    function, arguments = getattr(ops, case.operation), case.make()

    def call(of: Callable[..., Any], device: str, dtype: torch.dtype) -> Call:
        return Call.of(of, arguments, device, dtype, in_place=case.in_place)

    exact = outcome(call(function.reference, "cpu", torch.float64))
    rounded = outcome(call(function.reference, "cpu", torch.float32))
    usual = {order: SLACK * error.size for order, error in errors(rounded, exact).items()}
    allowed = {
        torch.float32: {order: max(case.floor, usual.get(order, 0.0)) for order in ORDERS},
        torch.float64: dict.fromkeys(ORDERS, EXACT),
    }
    for dtype in allowed if size is SMALL else (torch.float32,):
        ours, plain = (call(f, plan.device, dtype) for f in (function, function.reference))
        with Record() as record:
            off = errors(outcome(ours), exact)  # now, because timing a call in place changes what it returned
        figures: dict[str, Any] = {"ran": record.by_operation().get(case.operation)}
        if dtype == torch.float32 and (plan.quick or size is STEP):
            figures |= times(plan, ours) | {f"plain {name}": figure for name, figure in times(plan, plain).items()}
        yield judged(f"{what} {str(dtype).removeprefix('torch.')}", off, allowed[dtype], figures)


@dataclass(frozen=True)
class Call:
    """An operation with its own copy of the arguments; gradients are taken with respect to `leaves`."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keys: dict[str, Any]
    leaves: list[Tensor]

    @classmethod
    def of(
        cls, function: Callable[..., Any], given: Arguments, device: str, dtype: torch.dtype, *, in_place: bool
    ) -> Call:
        arguments, keys = moved(given, device, dtype)
        real = [x for x in arguments if isinstance(x, Tensor) and x.is_floating_point()]
        return cls(function, arguments, keys, [] if in_place else [x.requires_grad_() for x in real])

    def __call__(self) -> list[Tensor]:
        """All tensors of the result; if it is None, all tensors of the arguments, which were changed in place."""
        result = self.function(*self.arguments, **self.keys)
        return list(tensors(self.arguments if result is None else result))

    def gradients(self, *, create_graph: bool = False) -> list[Tensor | None]:
        """The gradients, for every leaf, of the sum of the sines of all results."""
        total = torch.stack([y.sin().sum() for y in self() if y.requires_grad]).sum()
        return list(torch.autograd.grad(total, self.leaves, allow_unused=True, create_graph=create_graph))

    def with_gradient(self) -> Callable[[], Any] | None:
        """The call and its back-propagation, for timing; None if nothing carries gradient."""
        cotangents = [torch.ones_like(y) for y in self() if y.requires_grad]

        def both() -> None:
            outputs = [y for y in self() if y.requires_grad]
            torch.autograd.grad(outputs, self.leaves, cotangents, allow_unused=True)

        return both if cotangents else None


def outcome(call: Call) -> Outcome:
    """Results, gradients and second gradients, as far as they exist."""
    outputs = call()
    found: Outcome = {"value": [y.detach() for y in outputs]}
    if any(y.requires_grad for y in outputs):
        # twice: kernels may take another path when they have to build a graph
        found["gradient"] = call.gradients()
        bends = [g for g in call.gradients(create_graph=True) if g is not None and g.requires_grad]
        if bends:
            total = torch.stack([g.square().mean() for g in bends]).sum()
            found["second gradient"] = list(torch.autograd.grad(total, call.leaves, allow_unused=True))
    return found


def tensors(x: Any) -> Iterator[Tensor]:
    """The tensors in tuples and dataclasses, in order."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, tuple):
        for part in x:
            yield from tensors(part)
    elif dataclasses.is_dataclass(x):
        for part in vars(x).values():
            yield from tensors(part)


def moved(x: Any, device: str, dtype: torch.dtype) -> Any:
    """A copy on the device, with real numbers as `dtype`; also of what tuples, mappings and dataclasses contain."""
    if isinstance(x, Tensor):
        return x.to(device, dtype if x.is_floating_point() else None, copy=True)
    if type(x) is tuple:
        return tuple(moved(part, device, dtype) for part in x)
    if isinstance(x, dict):
        return {key: moved(part, device, dtype) for key, part in x.items()}
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return dataclasses.replace(x, **moved(dict(vars(x)), device, dtype))
    return x


def times(plan: Plan, call: Call) -> dict[str, float]:
    """Milliseconds with and without back-propagation, if there is one, and on CUDA the launches without."""
    without, with_gradient, repeats = torch.no_grad()(call.__call__), call.with_gradient(), 2 if plan.quick else 20
    found = {"ms": milliseconds(without, plan.device, repeats)}
    if with_gradient:
        found["ms with gradient"] = milliseconds(with_gradient, plan.device, repeats)
    if plan.device == "cuda":
        found["launches"] = counted(without, plan.device).launches
    return found
