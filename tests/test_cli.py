"""The command line as a user meets it: what it prints, which code it leaves with, what it leaves on the disk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

import fieldengine
from fieldengine.cli import app as cli
from fieldengine.config.document import read
from fieldengine.config.keys import keys
from fieldengine.plugins.registry import Registry

# section 3 of the design: what every summary has at least
SUMMARY = {
    "scene", "task", "status", "steps", "seconds_train", "seconds_total", "steps_per_second", "peak_memory_mb",
    "n_parameters", "device", "threads", "seed", "versions", "plugins", "backends",
    "metrics",
}  # fmt: skip
SCENE = """\
dataset: {type: image, path: photo.png}
field: {encoding: identity, activation: {type: siren, omega: 5}, width: 8, depth: 1}
training: {steps: 12, batch_size: 64, checkpoint_every: 5, log_every: 4}
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line inside this process, in an empty working directory: as `fieldengine_command`, but quick."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["fieldengine", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Done(int(left.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def image_scene(scene: Callable[..., Path], photo: Path) -> Path:
    return scene(SCENE, "photo.yaml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short training of an image; only read."""
    folder = tmp_path_factory.mktemp("finished")
    y, x = np.mgrid[0:16, 0:24]
    iio.imwrite(folder / "photo.png", np.stack([10 * x, 15 * y, x + y], axis=-1).astype(np.uint8))
    (folder / "photo.yaml").write_text(SCENE, encoding="utf-8")
    fieldengine.train(folder / "photo.yaml", out=folder / "run")
    return folder / "run"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------- what needs no run


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["plugins", "--help"]])
def test_help_does_not_wait_for_torch(arguments: list[str]):
    program = (
        "import sys; from fieldengine.cli import main\n"
        "try: main()\n"
        "except SystemExit as left: code = left.code\n"
        "slow = {'torch', 'trimesh', 'imageio', 'igl'} & set(sys.modules)\n"
        "print(); print(code, sorted(slow))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Usage" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 []"


def test_help_names_every_command_and_the_first_thing_to_try(run: Run):
    text = run("--help").out
    for command in ("train", "eval", "render", "export", "plugins", "doctor", "schema"):
        assert re.search(rf"\b{command}\b", text)
    assert "fieldengine train scenes/image.yaml dataset.path=photo.png" in text


def test_the_version_is_that_of_the_distribution(run: Run):
    done = run("--version")
    assert (done.code, done.out, done.err) == (0, metadata.version("fieldengine") + "\n", "")


def test_without_arguments_the_help_is_shown(run: Run):
    assert "Usage" in run().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"], ["train"], ["train", "--fast", "x.yaml"], ["render", "run", "--scale", "0"], ["export", "mesh", "run"],
        ["train", "x.yaml", "--device", "tpu"], ["render", "run", "--frames", "none"], ["plugins", "shwo"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_command_line_that_is_not_understood_leaves_with_two_and_says_why(arguments: list[str], run: Run):
    done = run(*arguments)
    assert done.code == 2
    assert "Error" in done.err
    assert "bug" not in done.err


def test_the_list_of_plugins_has_kind_name_owner_version_and_a_line_of_each(run: Run):
    done = run("plugins", "list")
    lines = done.out.splitlines()
    assert lines[0].split() == ["kind", "name", "distribution", "version", "what", "it", "is"]
    rows = {tuple(line.split()[:4]): " ".join(line.split()[4:]) for line in lines[1:]}
    for plugin in Registry():
        first = (plugin.load().__doc__ or "").strip().partition("\n")[0]
        assert rows[plugin.kind, plugin.name, plugin.distribution, plugin.version] == first
    assert done.code == 0


def test_a_plugin_is_shown_with_its_keys_types_ranges_defaults_and_lines(run: Run):
    done = run("plugins", "show", "finer")
    assert done.code == 0
    assert done.out.startswith("activations/finer  (fieldengine ")
    rows = {line.split()[0]: " ".join(line.split()) for line in done.out.splitlines() if line}
    assert rows["omega"] == "omega auto | float > 0 30.0 frequency of the layers"
    assert rows["bias"].startswith("bias auto | float >= 0 | null null ")
    assert rows["gradient"].startswith('gradient detached | full "detached" ')
    assert "Liu et al. 2024" in done.out


def test_a_nested_plugin_and_a_required_key_are_shown_as_such(run: Run):
    rows = {
        line.split()[0]: " ".join(line.split()) for line in run("plugins", "show", "radiance").out.splitlines() if line
    }
    assert rows["encoding"].startswith('encoding encodings plugin "hash_grid" ')
    rows = {
        line.split()[0]: " ".join(line.split()) for line in run("plugins", "show", "blender").out.splitlines() if line
    }
    assert rows["path"].startswith("path path required ")


def test_every_type_is_shown_in_full_brackets_and_all(run: Run):
    colour = "[float >= 0 <= 1, float >= 0 <= 1, float >= 0 <= 1]"
    assert f"white | black | grey | {colour} | null" in run("plugins", "show", "datasets/image").out
    assert "[1, 1.5, 0.25]" not in run("plugins", "show", "procedural").out
    assert "[[-1.5, -1.5, -1.5], [1.5, 1.5, 1.5]]" in run("plugins", "show", "blender").out


def test_plugins_show_lists_the_keys_that_belong_to_no_plugin(run: Run):
    def listed(name: str) -> list[str]:
        lines = run("plugins", "show", name).out.splitlines()
        return [line.split()[0] for line in lines if line[:1].strip()]

    assert {"dataset", "training.schedule.warmup", "evaluation.every"} < set(listed("scene"))
    assert {name.partition(".")[0] for name in listed("training")} == {"key", "training"}
    lines = run("plugins", "show", "kar").out.splitlines()
    assert any(line.startswith("f is the value of a signal") for line in lines), "a list ends where it ends"


def test_a_name_that_two_kinds_share_shows_both_and_a_kind_chooses_one(run: Run):
    both = run("plugins", "show", "mesh").out
    assert "datasets/mesh" in both
    assert "exporters/mesh" in both
    assert "exporters/mesh" not in run("plugins", "show", "datasets/mesh").out


def test_a_plugin_that_is_not_there_is_answered_with_those_that_are(run: Run):
    done = run("plugins", "show", "fnier")
    assert done.code == 2
    assert done.err.startswith('error: no plugin "fnier". Installed: ')
    assert done.err.endswith('Did you mean "finer"?\n')


def test_plugins_show_lists_a_kind_and_cuts_no_name(run: Run):
    done = run("plugins", "show", "encodings")
    lines = [line.split() for line in done.out.splitlines() if line.startswith("encodings")]
    assert (done.code, {words[1] for words in lines}) == (0, {p.name for p in Registry() if p.kind == "encodings"})
    assert "training.schedule.milestones" in run("plugins", "show", "training").out


def test_every_plugin_can_be_shown(run: Run):
    for plugin in Registry():
        done = run("plugins", "show", f"{plugin.kind}/{plugin.name}")
        shown = {line.split()[0] for line in done.out.splitlines() if line}
        assert done.code == 0
        assert {key.name for key in keys(plugin.load())} <= shown


def test_the_schema_is_json(run: Run):
    done = run("schema")
    found = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert found["properties"]["training"]["properties"]["steps"]["minimum"] == 1
    assert found["title"] == "fieldengine scene"


def test_the_doctor_finds_this_machine_and_its_packages(run: Run):
    done = run("doctor")
    assert done.code == 0
    rows = {line.split()[0]: line.split()[1:] for line in done.out.splitlines()}
    assert rows["torch"] == [torch.__version__]
    assert rows["numpy"] == [np.__version__]
    assert rows["plugins"] == [str(sum(1 for _ in Registry())), "installed"]
    assert "missing" not in done.out
    assert {"lpips_alex", "lpips_vgg"} <= rows.keys()


def test_paths_of_results_are_printed_as_they_are(image_scene: Path, run: Run, tmp_path: Path):
    assert run("train", image_scene, "--out", "[red]run").code == 0
    for out, more in (("[/b]x.png", ()), ("[red]x.png", ("--size", "4x4"))):
        done = run("render", "[red]run", "--out", out, *more)
        assert (done.code, done.out) == (0, f"{out}\n"), done.err
    done = run("export", "field", "[red]run", "--out", "[/b]f.safetensors")
    assert done.code == 0
    assert done.out.startswith("[/b]f.safetensors: ")
    assert "[red]run" in run("eval", "[red]run").out
    done = run("render", "[red]run", "--out", f"{'x' * 300}.png")
    assert done.code == 2
    assert "too long" in done.err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_letters_that_a_terminal_lacks_are_replaced(fieldengine_command: Command, tmp_path: Path, encoding: str):
    (tmp_path / "图.yaml").write_text("dataset: {type: image, path: 图.png}\n", encoding="utf-8")
    env = {"PYTHONIOENCODING": encoding}
    listed = fieldengine_command("plugins", "list", env=env)
    assert listed.returncode == 0, listed.stderr
    assert "finer" in listed.stdout
    refused = fieldengine_command("train", tmp_path / "图.yaml", env=env)
    assert refused.returncode == 2, refused.stderr
    assert "no such file" in refused.stderr
    assert "bug" not in refused.stderr


# ---------------------------------------------------------------------------------------------------------- training


def test_a_training_writes_its_whole_story_and_the_next_one_another_folder(
    image_scene: Path, fieldengine_command, run: Run, tmp_path: Path
):
    done = fieldengine_command("train", image_scene, "training.steps=10", "training.checkpoint_every=4")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "run folder runs/photo" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    folder = tmp_path / "runs" / "photo"

    scene = read(folder / "scene.yaml").plain()
    assert scene["training"]["steps"] == 10
    assert scene["dataset"] == {
        "type": "image", "path": str(tmp_path / "photo.png"), "crop": None, "value_range": None, "downscale": 1,
        "grid": "corners", "background": None,
        "mask": {"random": None, "seed": 88, "rows": None, "cols": None, "file": None},
    }  # fmt: skip

    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary.keys() >= SUMMARY
    assert (summary["scene"], summary["task"], summary["status"], summary["steps"]) == ("photo", "image", "done", 10)
    assert (summary["device"], summary["seed"]) == ("cpu", 0)
    assert summary["n_parameters"] == 2 * 8 + 8 + 8 * 3 + 3
    assert summary["seconds_total"] >= summary["seconds_train"] > 0
    assert {"python", "torch", "fieldengine"} <= summary["versions"].keys()
    assert {"kind", "name", "distribution", "version"} == summary["plugins"][0].keys()
    assert summary["backends"] == {"dense": "reference", "pointwise": "reference"}  # so few numbers gain nothing
    assert {"psnr", "ssim"} <= summary["metrics"].keys()
    assert all(isinstance(value, float) for value in summary["metrics"].values())

    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 5, 9, 10]
    assert lines[-1]["psnr"] == summary["metrics"]["psnr"]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step_00000008", "step_00000010"]
    assert iio.imread(next((folder / "images").iterdir())).shape == (16, 24, 3)
    assert "done: 10 steps" in (folder / "log.txt").read_text(encoding="utf-8")

    before = files(folder)
    again = run("train", image_scene, "training.steps=1")
    assert again.code == 0
    assert "run folder runs/photo-2" in again.err
    assert (tmp_path / "runs" / "photo-2" / "summary.json").exists()
    assert files(folder) == before


def test_a_folder_of_its_own_may_be_named(image_scene: Path, run: Run, tmp_path: Path):
    assert run("train", image_scene, "training.steps=1", "--out", "deep/inside/run").code == 0
    assert (tmp_path / "deep" / "inside" / "run" / "summary.json").exists()
    assert not (tmp_path / "runs").exists()


def test_quiet_prints_nothing_and_logs_all_the_same(image_scene: Path, run: Run, tmp_path: Path):
    done = run("train", image_scene, "training.steps=1", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert "done: 1 steps" in (tmp_path / "runs" / "photo" / "log.txt").read_text(encoding="utf-8")


def test_python_and_the_command_line_give_the_same_field(image_scene: Path, run: Run, tmp_path: Path):
    assert run("train", image_scene, "training.steps=3", "--out", "a").code == 0
    ours = fieldengine.train(image_scene, {"training.steps": 3}, out=tmp_path / "b")
    theirs = fieldengine.load(tmp_path / "a")
    x = torch.rand(20, 2) * 2 - 1
    assert torch.equal(ours.field(x), theirs.field(x))
    assert ours.metrics == theirs.metrics == json.loads((tmp_path / "a" / "summary.json").read_text())["metrics"]


def test_a_warning_about_the_data_is_printed_and_logged_whatever_the_file_is_called(
    scene: Callable[..., Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, few in (("IOU_POINTS", 500), ("SURFACE_POINTS", 50), ("CHAMFER_RESOLUTION", 8)):
        monkeypatch.setattr(f"fieldengine.metrics.surface.{name}", few)  # here only the warning counts
    odd = tmp_path / "balls [" / "x] [1] [red].ply"  # the path holds `[/x]`, which rich would take for markup
    odd.parent.mkdir()
    ball = trimesh.creation.icosphere(subdivisions=1)
    trimesh.Trimesh(ball.vertices, ball.faces[:, ::-1], process=False).export(odd)
    path = scene(
        f"dataset: {{type: mesh, path: '{odd}', n_samples: 1000}}\n"
        "field: {encoding: identity, width: 4, depth: 1}\n"
        "training: {steps: 1, batch_size: 10}\nevaluation: {splits: []}\n"
    )
    done = run("train", path, "--quiet", "--out", "run [2]")
    assert done.code == 0, done.err
    warning = f"warning: {odd}: the faces point inward; they were turned outward"
    assert done.err == f"{warning}\n"
    assert warning in (tmp_path / "run [2]" / "log.txt").read_text(encoding="utf-8")


def test_a_training_that_fails_leaves_with_one_and_a_folder_that_says_why(image_scene: Path, run: Run, tmp_path: Path):
    done = run("train", image_scene, "training.lr=1.0e+30", "field.activation=relu", "training.log_every=1")
    assert done.code == 1
    assert "error: the loss became " in done.err
    assert "Lower training.lr" in done.err
    summary = json.loads((tmp_path / "runs" / "photo" / "summary.json").read_text(encoding="utf-8"))
    assert summary.keys() >= SUMMARY
    assert summary["status"] == "failed"
    assert "the loss became " in summary["reason"]
    assert "failed: " in (tmp_path / "runs" / "photo" / "log.txt").read_text(encoding="utf-8")


def test_kernels_that_do_not_exist_are_refused_before_anything_is_made(
    image_scene: Path, run: Run, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("FIELDENGINE_KERNELS", "cuda")
    done = run("train", image_scene)
    assert done.code == 2
    assert "FIELDENGINE_KERNELS=cuda: there is no backend 'cuda'" in done.err
    assert not (tmp_path / "runs").exists()


def test_a_cuda_device_that_is_not_there_is_refused_before_anything_is_made(
    image_scene: Path, run: Run, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = run("train", image_scene, "--device", "cuda")
    assert done.code == 2
    assert "--device cuda: torch finds no CUDA device here" in done.err
    assert not (tmp_path / "runs").exists()


# ------------------------------------------------------------------------------------------------------ interruption


@contextmanager
def training(path: Path, cwd: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A training in another process, once it has logged its first step."""
    command = [sys.executable, "-m", "fieldengine", "train", str(path), "training.log_every=1", *more]
    with subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            metrics = cwd / "runs" / "photo" / "metrics.jsonl"
            while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
                time.sleep(0.05)
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def test_ctrl_c_writes_a_checkpoint_and_resume_finishes_the_training(image_scene: Path, run: Run, tmp_path: Path):
    with training(image_scene, tmp_path, "training.steps=1000000") as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    folder = tmp_path / "runs" / "photo"
    assert process.returncode == 130, err
    assert "Traceback" not in err
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    step = summary["steps"]
    assert summary["status"] == "interrupted"
    assert 0 < step < 1000000
    assert f"interrupted at step {step}; a checkpoint was written. Go on with --resume --out runs/photo" in err
    assert (folder / "checkpoints" / f"step_{step:08d}").is_dir()

    done = run("train", image_scene, f"training.steps={step + 3}", "training.log_every=1", "--resume")
    assert done.code == 0, done.err
    assert f"resuming at step {step} in runs/photo" in done.err
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert (summary["status"], summary["steps"]) == ("done", step + 3)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    logged = [line["step"] for line in lines if "loss" in line]
    assert logged == list(range(1, step + 4)), "no step is logged twice, none is missing"


# ------------------------------------------------------------------------------------------------- what a run is for


def test_eval_prints_the_scores_of_the_training_as_json(finished: Path, run: Run):
    done = run("eval", finished, "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == pytest.approx(fieldengine.load(finished).metrics)


def test_eval_prints_a_table_for_people(finished: Path, run: Run):
    done = run("eval", finished)
    psnr = fieldengine.load(finished).metrics["psnr"]
    assert done.code == 0
    assert f"{psnr:.4f}" in done.out


def test_eval_takes_the_metrics_of_the_run_or_those_it_is_asked_for(image_scene: Path, run: Run):
    done = run("train", image_scene, "training.steps=1", "evaluation.metrics=[ssim_uniform, psnr]", "--out", "run")
    assert done.code == 0, done.err
    assert list(json.loads(run("eval", "run", "--json").out)) == ["ssim_uniform", "psnr"]
    asked = run("eval", "run", "--json", "--metric", "spectral_error", "--metric", "psnr_unclipped")
    assert list(json.loads(asked.out)) == ["spectral_error", "psnr_unclipped"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("psrn", 'no metric "psrn". Installed: chamfer, iou, lpips_alex, lpips_vgg, ms_ssim, '),
        ("psrn", 'ssim_uniform. Did you mean "psnr"?\n'),
        ("ms_ssim", "ms_ssim needs images of 176 pixels a side or more, found 24x16. Leave it out\n"),
    ],
)
def test_eval_refuses_a_metric_that_it_cannot_compute(name: str, said: str, finished: Path, run: Run):
    done = run("eval", finished, "--metric", name)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {finished}: ")
    assert said in done.err


@pytest.mark.parametrize("split", ["tset", ""])
def test_eval_refuses_a_split_that_does_not_exist(split: str, finished: Path, run: Run):
    done = run("eval", finished, "--split", split)
    assert done.code == 2
    assert f'"{split}"' in done.err


def test_render_scales_the_image_it_was_trained_on(finished: Path, run: Run, tmp_path: Path):
    before = files(finished)
    done = run("render", finished, "--scale", "2", "--out", "big.png")
    assert (done.code, done.out) == (0, "big.png\n")
    assert iio.imread(tmp_path / "big.png").shape == (32, 48, 3)
    assert run("render", finished, "--size", "10x7", "--out", "small.jpg").code == 0
    assert iio.imread(tmp_path / "small.jpg").shape == (7, 10, 3)
    assert files(finished) == before


def test_render_without_a_name_writes_into_the_runs_images(image_scene: Path, run: Run, tmp_path: Path):
    run("train", image_scene, "training.steps=1")
    done = run("render", "runs/photo")
    assert done.out == "runs/photo/images/image.png\n"
    assert iio.imread(tmp_path / "runs/photo/images/image.png").shape == (16, 24, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "10"], '--size "10" is not WIDTHxHEIGHT, such as 640x480'),
        (["--size", "0x5"], "an image of 0x5 pixels is asked for"),
        (["--size", "99999x99999"], "an image of 99999x99999 pixels is asked for"),
        (["--scale", "100000"], "pixels is asked for"),
        (["--scale", "inf"], "--scale"),
        (["--scale", "nan"], "--scale"),
        (["--path", "orbit"], "--path is for scenes seen by cameras; this field is a flat image"),
        (["--out", "image.txt"], "image.txt: an image ends in .png, "),
        (["--out", "image"], "found no ending"),
        (["--out", "."], "an image ends in"),
    ],
)
def test_a_rendering_that_cannot_be_made_is_refused_in_words(options: list[str], said: str, finished: Path, run: Run):
    done = run("render", finished, *options)
    assert done.code == 2
    assert said in done.err


def test_a_mesh_of_a_image_is_refused_and_no_file_is_left(finished: Path, run: Run, tmp_path: Path):
    done = run("export", "mesh", finished, "--out", "mesh.ply")
    assert done.code == 2
    assert done.err.startswith("error: mesh.ply: cannot be written: ")
    assert "has no surface" in done.err
    assert list(tmp_path.glob("*mesh*")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["msh", "--out", "m.ply"], 'no exporter "msh". Installed: field, mesh, points'),
        (["field", "--out", "f.pt"], "f.pt: a field file ends in .safetensors; found .pt"),
        (["mesh", "--out", "m.ply", "--resolution", "1"], "resolution: expected greater than or equal to 2, found 1"),
        (["mesh", "--out", "m.ply", "--level", "nan"], "level: expected a finite number, found nan"),
        (["mesh", "--out", "m.ply", "resolutoin=3"], 'Did you mean "resolution"?'),
    ],
)  # fmt: skip
def test_an_export_that_is_not_understood_is_refused_in_words(
    arguments: list[str], said: str, finished: Path, run: Run, tmp_path: Path
):
    kind, *options = arguments
    done = run("export", kind, finished, *options)
    assert done.code == 2
    assert said in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_field_file_is_rendered_like_its_run_without_run_and_data(finished: Path, run: Run, tmp_path: Path):
    assert run("export", "field", finished, "--out", "field.safetensors").code == 0
    assert run("render", "field.safetensors").out == "image.png\n"
    assert run("render", finished, "--out", "run.png").code == 0
    assert (tmp_path / "image.png").read_bytes() == (tmp_path / "run.png").read_bytes()
    done = run("eval", "field.safetensors")
    assert done.code == 2
    assert "field.safetensors" in done.err
    assert "holds no data" in done.err


# ------------------------------------------------------------------------------------------------------------ errors


def test_a_bug_is_told_from_wrong_input_and_shows_its_place_only_when_asked(run: Run, monkeypatch, finished: Path):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by [nought]")

    monkeypatch.setattr("fieldengine.runs.load.load", broken)
    done = run("eval", finished)
    assert done.code == 1
    assert done.err == (
        "error: ZeroDivisionError: by [nought]\n"
        "This is a bug. Set FIELDENGINE_TRACEBACK=1 to see where, and report it\n"
    )


@pytest.mark.parametrize(("asked", "shown"), [("1", True), ("", False), ("0", False)])
def test_a_traceback_is_shown_only_when_asked_for(asked: str, shown: bool, fieldengine_command):
    done = fieldengine_command("plugins", "show", "nothing", env={"FIELDENGINE_TRACEBACK": asked})
    assert ("Traceback (most recent call last)" in done.stderr) == shown
    assert 'no plugin "nothing". Installed: ' in done.stderr
    assert shown or done.returncode == 2


def test_output_into_a_closed_pipe_ends_without_a_word():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "fieldengine", "plugins", "--help"],
            stdout=closed, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_before_training_says_interrupted_and_leaves_nothing(image_scene: Path, tmp_path: Path, presses: int):
    program = (
        "import os, signal, sys\n"
        "from fieldengine.cli import main\n"
        "from fieldengine.runs import train as fitting\n"
        "def pressed(*_):\n"
        f"    for _ in range({presses}):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "fitting.build_dataset = pressed\n"
        f"sys.argv = ['fieldengine', 'train', {str(image_scene)!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "interrupted before training began\n"
    assert not list((tmp_path / "runs").iterdir())
