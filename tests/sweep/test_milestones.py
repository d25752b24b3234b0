"""Figures taken from a run's curve: straight lines between evaluations, none where the curve does not come to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fieldengine.sweep.milestones import Milestone, milestone_figures

LINES = [
    {"step": 1, "seconds": 0.1, "loss": 1.0, "psnr_batch": 99.0},
    {"step": 100, "seconds": 2.0, "psnr": 20.0, "ssim": 0.5},
    {"step": 200, "seconds": 6.0, "psnr": 30.0, "ssim": 0.4},
    {"step": 300, "seconds": 8.0, "psnr": 25.0, "ssim": 0.3},
    {"step": 400, "seconds": 9.0, "psnr": 40.0, "ssim": 0.2},
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return tmp_path


def test_a_level_is_reached_where_the_curve_first_crosses_it(run: Path):
    found = milestone_figures(run, [Milestone("psnr", "reach", 25)])
    assert found == {"steps to psnr 25": 150, "seconds to psnr 25": 4}


def test_scores_are_read_off_between_two_evaluations(run: Path):
    after = [Milestone("psnr", "after_seconds", 7), Milestone("ssim", "after_steps", 350)]
    found = milestone_figures(run, after)
    assert found == pytest.approx({"psnr after 7 seconds": 27.5, "ssim after 350 steps": 0.25})


@pytest.mark.parametrize(("kind", "number"), [("reach", 41), ("after_seconds", 10), ("after_steps", 50)])
def test_what_a_run_did_not_come_to_has_no_figure(run: Path, kind: str, number: float):
    assert milestone_figures(run, [Milestone("psnr", kind, number)]) == {}


def test_a_run_that_is_good_by_its_first_evaluation_counts_with_that(run: Path):
    found = milestone_figures(run, [Milestone("psnr", "reach", 19)])
    assert found == {"steps to psnr 19": 100, "seconds to psnr 19": 2}


def test_where_less_is_better_a_level_is_reached_from_above(tmp_path: Path):
    curve = [{"step": 10, "seconds": 1.0, "chamfer": 0.5}, {"step": 20, "seconds": 2.0, "chamfer": 0.1}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in curve))
    found = milestone_figures(
        tmp_path, [Milestone("chamfer", "reach", number, higher_is_better=False) for number in (0.3, 0.05)]
    )
    assert found == pytest.approx({"steps to chamfer 0.3": 15, "seconds to chamfer 0.3": 1.5})


def test_a_run_that_has_not_begun_has_none(tmp_path: Path):
    assert milestone_figures(tmp_path, [Milestone("psnr", "reach", 25)]) == {}


def test_an_evaluation_at_the_very_number_is_taken_as_it_is(run: Path):
    found = milestone_figures(run, [Milestone("psnr", "after_steps", 200), Milestone("psnr", "reach", 40)])
    assert found == {"psnr after 200 steps": 30.0, "steps to psnr 40": 400, "seconds to psnr 40": 9.0}
