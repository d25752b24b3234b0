"""A checkpoint gives back what was saved, or says that it cannot; a crash while writing loses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fieldengine.errors import RunError
from fieldengine.training import checkpoint

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.int8,
    torch.bool,
]  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """Equal trees: the same keys, types, and bits."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        bits = a.contiguous().reshape(-1).view(torch.uint8), b.contiguous().reshape(-1).view(torch.uint8)
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


def state(step: int) -> dict[str, Any]:
    return {"step": step, "training": {"field": {"weight": torch.full((3, 2), float(step))}}}


# -------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 1, 4)], ids=str)
def test_a_tensor_of_any_type_and_shape_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype, shape: tuple):
    tensor = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 50).to(dtype)
    found = checkpoint.load(checkpoint.save(tmp_path, 1, {"t": tensor}))
    assert same(found, {"t": tensor})


def test_values_that_are_no_numbers_come_back(tmp_path: Path):
    tensor = torch.tensor([float("nan"), float("inf"), -0.0])
    assert same(checkpoint.load(checkpoint.save(tmp_path, 1, {"t": tensor}))["t"], tensor)


def test_views_transposes_and_shared_memory_come_back_as_they_look(tmp_path: Path):
    whole = torch.arange(12.0).view(3, 4)
    tree = {"whole": whole, "turned": whole.T, "row": whole[1], "same": whole, "wide": whole[:1].expand(5, 4)}
    found = checkpoint.load(checkpoint.save(tmp_path, 1, tree))
    assert all(torch.equal(found[name], tree[name]) for name in tree)


def test_parameters_come_back_as_plain_tensors(tmp_path: Path):
    found = checkpoint.load(checkpoint.save(tmp_path, 1, {"p": nn.Parameter(torch.ones(2))}))["p"]
    assert type(found) is Tensor
    assert not found.requires_grad


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.text(max_size=5),
    st.lists(st.floats(-1e6, 1e6, width=32), max_size=4).map(torch.tensor),
)  # fmt: skip
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab/.0", max_size=3), inner)),
    max_leaves=12,
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(st.text("ab/.0", max_size=3), trees))
def test_any_tree_of_tensors_and_scalars_comes_back(tmp_path: Path, tree: dict[str, Any]):
    assert same(checkpoint.load(checkpoint.save(tmp_path, 1, tree)), tree)


@pytest.mark.parametrize(
    "tree",
    [
        {"a/b": torch.zeros(2), "a": {"b": torch.ones(2)}},
        {"a~1b": torch.zeros(2), "a/b": torch.ones(2)},
        {"": {"a": torch.zeros(2)}, "a": torch.ones(2)},
        {"a": [torch.zeros(2)], "a/0": torch.ones(2)},
    ],
    ids=["a slash", "an escape", "an empty key", "a list"],
)
def test_two_tensors_never_share_a_place_whatever_their_keys_are(tmp_path: Path, tree: dict[str, Any]):
    assert same(checkpoint.load(checkpoint.save(tmp_path, 1, tree)), tree)


def test_an_optimizer_comes_back_and_goes_on_to_the_same_bits(tmp_path: Path):
    def three_steps(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        for i in range(3):
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed + i))
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, fused=True)
    three_steps(net, optimizer, 0)
    path = checkpoint.save(tmp_path, 3, {"net": net.state_dict(), "optimizer": optimizer.state_dict()})
    three_steps(net, optimizer, 10)
    found = checkpoint.load(path)
    fresh = nn.Linear(3, 2)
    resumed = torch.optim.Adam(fresh.parameters(), lr=0.7, fused=True)
    checkpoint.load_module(fresh, found["net"], path, "field")
    checkpoint.optimizer_state(resumed, found["optimizer"], path)
    three_steps(fresh, resumed, 10)
    assert torch.equal(fresh.weight, net.weight)
    assert torch.equal(fresh.bias, net.bias)


def test_a_checkpoint_holds_tensors_and_json_and_nothing_else(tmp_path: Path):
    path = checkpoint.save(tmp_path, 7, state(7))
    assert path.name == "step_00000007"
    assert sorted(file.name for file in path.iterdir()) == ["state.json", "state.safetensors"]
    assert json.loads((path / "state.json").read_text())["step"] == 7


# ------------------------------------------------------------------------------------------------- atomic, pruned


def test_the_newest_are_kept_in_order_of_steps_and_older_ones_removed(tmp_path: Path):
    for step in (5, 90, 1000, 12_345_678, 123_456_789):
        checkpoint.save(tmp_path, step, state(step))
    found = [checkpoint.load(path)["step"] for path in checkpoint.list_checkpoints(tmp_path)]
    assert found == [12_345_678, 123_456_789]
    assert len(found) == checkpoint.KEEP


def test_as_many_as_asked_are_kept_or_all(tmp_path: Path):
    for step in range(5):
        checkpoint.save(tmp_path, step, {"step": step}, keep=None if step < 4 else 3)
        kept = [path.name for path in checkpoint.list_checkpoints(tmp_path)]
        assert kept == [f"step_{n:08d}" for n in range(step + 1)][-3 if step == 4 else 0 :]


def test_a_folder_that_is_not_there_holds_no_checkpoints(tmp_path: Path):
    assert checkpoint.list_checkpoints(tmp_path / "nowhere") == []


def test_saving_a_step_again_replaces_it(tmp_path: Path):
    checkpoint.save(tmp_path, 4, {"value": 1})
    checkpoint.save(tmp_path, 4, {"value": 2})
    (only,) = checkpoint.list_checkpoints(tmp_path)
    assert checkpoint.load(only) == {"value": 2}


class Crash(BaseException):
    """What a kill looks like from inside: nothing handles it."""


def crash(*args: Any, **kwargs: Any) -> None:
    raise Crash


def half_written(tensors: Any, path: Path, **kwargs: Any) -> None:
    Path(path).write_bytes(b"\x10\x00\x00")
    raise Crash


@pytest.mark.parametrize(
    ("place", "broken"),
    [
        ("fieldengine.training.checkpoint.save_file", crash),
        ("fieldengine.training.checkpoint.save_file", half_written),
        ("pathlib.Path.write_text", crash),
        ("os.fsync", crash),
        ("pathlib.Path.rename", crash),
    ],
    ids=["before the tensors", "half of the tensors", "before the JSON", "before it is on the disk", "before its name"],
)
def test_a_crash_while_writing_leaves_the_previous_checkpoint_and_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, broken: Any
):
    checkpoint.save(tmp_path, 1, state(1))
    checkpoint.save(tmp_path, 2, state(2))
    with monkeypatch.context() as patch:
        patch.setattr(place, broken)
        with pytest.raises(Crash):
            checkpoint.save(tmp_path, 3, state(3))
    assert [checkpoint.load(path)["step"] for path in checkpoint.list_checkpoints(tmp_path)] == [1, 2]
    checkpoint.save(tmp_path, 3, state(3))  # what the crash left behind is in nobody's way
    assert [checkpoint.load(path)["step"] for path in checkpoint.list_checkpoints(tmp_path)] == [2, 3]


def test_a_crash_while_a_step_is_saved_again_leaves_a_checkpoint_of_that_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checkpoint.save(tmp_path, 1, state(1))
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", crash)
        with pytest.raises(Crash):
            checkpoint.save(tmp_path, 1, state(1))
    assert [checkpoint.load(path)["step"] for path in checkpoint.list_checkpoints(tmp_path)] == [1]


def test_a_full_disk_is_a_run_error_that_names_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fieldengine.training.checkpoint.save_file", full)
    with pytest.raises(RunError, match=r"step_00000009.*No space left"):
        checkpoint.save(tmp_path, 9, state(9))


def test_a_disk_that_fills_up_below_safetensors_is_a_run_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*args: Any, **kwargs: Any) -> None:
        raise checkpoint.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("fieldengine.training.checkpoint.save_file", full)
    with pytest.raises(RunError, match="No space left"):
        checkpoint.save(tmp_path, 9, state(9))


# --------------------------------------------------------------------------------------------------------- damage


def damaged(path: Path, kind: str) -> None:
    tensors, tree = path / "state.safetensors", path / "state.json"
    if kind == "tensors cut short":
        tensors.write_bytes(tensors.read_bytes()[:-5])
    elif kind == "tensors empty":
        tensors.write_bytes(b"")
    elif kind == "tensors missing":
        tensors.unlink()
    elif kind == "tree cut short":
        tree.write_text(tree.read_text()[:-3])
    elif kind == "tree missing":
        tree.unlink()
    elif kind == "tree not text":
        tree.write_bytes(b"\xff\xfe\x00")
    elif kind == "tree a list":
        tree.write_text("[1, 2]")
    elif kind == "tensor unknown":
        tree.write_text(tree.read_text().replace("field/weight", "field/height"))
    elif kind == "tensor without a name":
        tree.write_text('{"weight": {"$tensor": []}}')


@pytest.mark.parametrize(
    "kind",
    [
        "tensors cut short", "tensors empty", "tensors missing", "tree cut short", "tree missing", "tree not text",
        "tree a list", "tensor unknown", "tensor without a name",
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_a_run_error_that_names_it(tmp_path: Path, kind: str):
    path = checkpoint.save(tmp_path, 1, state(1))
    damaged(path, kind)
    with pytest.raises(RunError, match=r"step_00000001.*damaged"):
        checkpoint.load(path)


def test_a_module_that_does_not_fit_is_told_what_is_missing_unexpected_and_reshaped(tmp_path: Path):
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = {"0.weight": torch.zeros(2, 3), "0.bias": torch.zeros(5), "1.weight": torch.zeros(1, 2), "2.extra": before}
    found["2.extra"] = torch.zeros(1)
    with pytest.raises(RunError) as caught:
        checkpoint.load_module(net, found, tmp_path, "field")
    message = str(caught.value)
    assert "1.bias is missing" in message
    assert "2.extra is not part of this field" in message
    assert "0.bias has shape (5,) instead of (2,)" in message
    assert "0.weight" not in message
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()), "nothing was loaded"


def test_many_complaints_are_counted_not_listed(tmp_path: Path):
    net = nn.Sequential(*[nn.Linear(1, 1) for _ in range(5)])
    with pytest.raises(RunError, match="and 6 more"):
        checkpoint.load_module(net, {}, tmp_path, "field")


def test_an_optimizer_of_other_shapes_is_refused(tmp_path: Path):
    def stepped(width: int) -> torch.optim.Optimizer:
        net = nn.Linear(width, 1)
        optimizer = torch.optim.Adam(net.parameters())
        net(torch.ones(1, width)).sum().backward()
        optimizer.step()
        return optimizer

    with pytest.raises(RunError, match=r"exp_avg has shape \(1, 4\) instead of \(1, 3\)"):
        checkpoint.optimizer_state(stepped(3), stepped(4).state_dict(), tmp_path)


@pytest.mark.parametrize("setting", ["betas", "lr", "eps", "weight_decay", "amsgrad"])
@pytest.mark.parametrize("value", ["[]", [], {}, [0.9, "x"]])
def test_an_optimizers_setting_of_another_type_is_a_run_error(tmp_path: Path, setting: str, value: Any):
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    found = optimizer.state_dict()
    found["param_groups"][0][setting] = value
    with pytest.raises(RunError, match=f"is damaged: setting {setting} of the optimizer's group 0"):
        checkpoint.optimizer_state(optimizer, found, tmp_path)


def test_an_optimizer_keeps_its_own_settings_and_takes_the_learning_rate(tmp_path: Path):
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=0.3)
    found = optimizer.state_dict()
    found["param_groups"][0].update(betas=(-1.0, 7.0), eps=-3.0, amsgrad=True, lr=0.1)
    checkpoint.optimizer_state(optimizer, found, tmp_path)
    (group,) = optimizer.param_groups
    assert (group["betas"], group["eps"], group["amsgrad"], group["lr"]) == ((0.9, 0.999), 1e-8, False, 0.1)


@pytest.mark.parametrize(
    "found",
    [{}, {"state": {}, "param_groups": 3}, {"state": {}, "param_groups": [{}]}, {"state": [], "param_groups": []},
     {"state": {"0": 3}, "param_groups": [{"params": [0]}]}, {"state": {"a": {}}, "param_groups": [{"params": [0]}]},
     {"state": {"0": {"step": 1, "exp_avg": 2, "exp_avg_sq": 3}}, "param_groups": [{"params": [0]}]}],
)  # fmt: skip
def test_an_optimizers_state_that_is_none_is_a_run_error(tmp_path: Path, found: dict[str, Any]):
    with pytest.raises(RunError, match="is damaged"):
        checkpoint.optimizer_state(torch.optim.Adam([nn.Parameter(torch.zeros(1))]), found, tmp_path)


def test_an_optimizer_of_other_groups_is_refused(tmp_path: Path):
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    one = torch.optim.Adam(parameters)
    two = torch.optim.Adam([{"params": parameters[:1]}, {"params": parameters[1:]}])
    with pytest.raises(RunError, match="does not fit this scene"):
        checkpoint.optimizer_state(one, two.state_dict(), tmp_path)
