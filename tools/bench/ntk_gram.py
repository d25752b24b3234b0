"""How fast is the empirical kernel of 384 points layer by layer, against a Jacobian row for each of them?

SIREN 2-256x4-3, all parameters. The rival is what is published: gradients of every point by vmap(grad), then J Jᵀ.
Also asked: how far both are from double precision, and how much memory each takes beyond what it starts with.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import Any

import torch
from pair import Question, Setup, Step, compare, main
from torch import nn
from torch.func import functional_call, grad, vmap

from fieldengine import ntk
from fieldengine.fields.mlp import MLP
from fieldengine.memory import peak_memory_mb
from fieldengine.plugins.registry import Registry

N, WIDTH, DEPTH, CHANNELS = 384, 256, 4, 3
FEW = 64  # points for which libraries are loaded and kernels compiled as for many
TIMES = 10  # that are timed together
ENOUGH = 10  # steps after which memory no longer grows


class Plain(nn.Module):
    """The same network in plain torch."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [2, *[WIDTH] * DEPTH, CHANNELS]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = torch.sin(30 * layer(x))
        return self.layers[-1](x)


def network() -> nn.Module:
    torch.manual_seed(0)
    siren = Registry().find("activations", "siren").load()
    return MLP(2, CHANNELS, width=WIDTH, depth=DEPTH, activation=siren())


def points(n: int) -> torch.Tensor:
    return torch.rand(n, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


def ours(n: int = N) -> Step:
    net, x = network(), points(n)
    return lambda: ntk.gram(net, net, x)


def theirs(n: int = N, dtype: torch.dtype = torch.float32) -> Step:
    plain, x = Plain(), points(n).to(dtype)
    plain.load_state_dict(network().state_dict())
    plain.to(dtype)
    parameters = {name: parameter.detach() for name, parameter in plain.named_parameters()}

    def s(parameters: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
        return functional_call(plain, parameters, (row[None],)).sum() / CHANNELS**0.5

    def step() -> torch.Tensor:
        found = vmap(grad(s), in_dims=(None, 0))(parameters, x)
        jacobian = torch.cat([part.flatten(1) for part in found.values()], dim=1)
        return jacobian @ jacobian.t()

    return step


def again(setup: Setup) -> Setup:
    """A single kernel of ours ends before a processor that has waited for the rival is awake."""

    def several() -> Step:
        step = setup()
        return lambda: [step() for _ in range(TIMES)]

    return several


def errors() -> list[float]:
    exact = theirs(dtype=torch.float64)()
    return [float((step().double() - exact).norm() / exact.norm()) for step in (theirs(), ours())]


def memory(side: str) -> float:
    """What the peak of this process rises by, in MB, once it has done the same for a few points."""
    setup, cpu = theirs if side == "rival" else ours, torch.device("cpu")
    setup(1 if side == "rival" else FEW)()
    step, before = setup(N), peak_memory_mb(cpu) or 0.0
    for _ in range(ENOUGH):
        step()
    return (peak_memory_mb(cpu) or 0.0) - before


def of_a_process(side: str) -> float:
    done = subprocess.run([sys.executable, __file__, "memory", side], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout)


def figure(question: str, asked: str, rival: float, own: float) -> dict[str, Any]:
    return {"question": question, "rival": RIVAL, "asked": asked, "rival_value": rival, "ours_value": own,
            "ratio": own / rival}  # fmt: skip


NET, RIVAL = f"empirical kernel of {N} points, SIREN 2-{WIDTH}x{DEPTH}-{CHANNELS}", "vmap(grad), then J Jᵀ"
SPEED = Question(f"{NET}, all parameters, {TIMES} times in a row", RIVAL, "at least 50", again(theirs), again(ours))

if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        print(memory(sys.argv[2]))
    elif len(sys.argv) > 2:
        main(SPEED)
    else:
        # memory first: a process starts with the peak of the one that started it
        peaks = of_a_process("rival"), of_a_process("ours")
        speed, difference = compare(0, SPEED), f"{NET}, relative difference to double precision"
        others = (
            figure(difference, "below 1e-3", *errors()),
            figure(f"{NET}, memory (here: MB)", "at most 0.05", *peaks),
        )
        print(json.dumps([speed, *others]))
