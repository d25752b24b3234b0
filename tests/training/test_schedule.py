"""The learning rate is a closed form of the step."""

from __future__ import annotations

import itertools
import math
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldengine.config.scene import Schedule
from fieldengine.training.schedule import lr_factor

DECAYS = typing.get_args(typing.get_type_hints(Schedule)["decay"])
STEPS = 200


def test_constant_stays():
    assert {lr_factor(Schedule("constant"), step, STEPS) for step in range(STEPS)} == {1.0}


def test_exponential_falls_by_the_same_factor_each_step_and_reaches_its_end():
    schedule = Schedule("exponential", final=0.05)
    assert lr_factor(schedule, 0, STEPS) == 1.0
    assert lr_factor(schedule, STEPS, STEPS) == pytest.approx(0.05)
    ratio = 0.05 ** (1 / STEPS)
    for step in range(STEPS):
        assert lr_factor(schedule, step + 1, STEPS) == pytest.approx(ratio * lr_factor(schedule, step, STEPS))


def test_cosine_is_half_a_period_between_one_and_its_end():
    schedule = Schedule("cosine", final=0.2)
    assert lr_factor(schedule, 0, STEPS) == 1.0
    assert lr_factor(schedule, STEPS // 2, STEPS) == pytest.approx(0.6)
    assert lr_factor(schedule, STEPS // 4, STEPS) == pytest.approx(0.2 + 0.8 * (0.5 + 0.25 * math.sqrt(2)))
    assert lr_factor(schedule, STEPS, STEPS) == pytest.approx(0.2)


def test_each_milestone_applies_the_factor_once_from_its_own_step_on():
    schedule = Schedule("milestones", final=0.5, milestones=(0.25, 0.5, 0.9))
    found = [lr_factor(schedule, step, STEPS) for step in (0, 49, 50, 99, 100, 179, 180, 199)]
    assert found == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_milestones_may_be_written_in_any_order():
    forward, backward = (Schedule("milestones", milestones=m) for m in ((0.2, 0.7), (0.7, 0.2)))
    assert [lr_factor(forward, s, 50) for s in range(50)] == [lr_factor(backward, s, 50) for s in range(50)]


@pytest.mark.parametrize("decay", DECAYS)
def test_warmup_rises_linearly_from_its_first_share_and_then_leaves_the_schedule_alone(decay: str):
    with_warmup, without = Schedule(decay, warmup=10), Schedule(decay)
    for step in range(STEPS):
        share = min(1.0, (step + 1) / 10)
        assert lr_factor(with_warmup, step, STEPS) == pytest.approx(share * lr_factor(without, step, STEPS))
    assert lr_factor(with_warmup, 0, STEPS) > 0.0


@settings(deadline=None)
@given(
    decay=st.sampled_from(DECAYS),
    final=st.floats(1e-4, 1.0),
    steps=st.integers(1, 300),
    beyond=st.integers(0, 50),
)
def test_without_warmup_the_rate_never_rises_and_stays_between_its_ends(
    decay: str, final: float, steps: int, beyond: int
):
    schedule = Schedule(decay, final=final)
    factors = [lr_factor(schedule, step, steps) for step in range(steps + beyond)]
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(factors))
    assert factors[0] == 1.0
    assert min(factors) >= final ** len(schedule.milestones) - 1e-12
