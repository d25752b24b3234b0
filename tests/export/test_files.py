"""A file is written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fieldengine.errors import RunError
from fieldengine.export.files import atomic, require_suffix


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def half_written(out: Path, reason: BaseException) -> None:
    with atomic(out) as temporary:
        temporary.write_text("half")
        raise reason


def test_the_file_is_there_when_the_block_ends_and_not_before(tmp_path: Path):
    out = tmp_path / "new" / "mesh.ply"
    with atomic(out) as temporary:
        temporary.write_text("whole")
        assert not out.exists()
        assert temporary.parent == out.parent, "on the same disk, so that renaming is one step"
        assert temporary.suffix == ".ply", "writers that look at the ending see the right one"
    assert out.read_text() == "whole"
    assert names(out.parent) == ["mesh.ply"]


def test_an_error_inside_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    out = tmp_path / "mesh.ply"
    out.write_text("old")
    with pytest.raises(ZeroDivisionError):
        half_written(out, ZeroDivisionError())
    assert out.read_text() == "old"
    assert names(tmp_path) == ["mesh.ply"]


def test_an_interruption_inside_leaves_nothing(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        half_written(tmp_path / "mesh.ply", KeyboardInterrupt())
    assert names(tmp_path) == []


def test_a_writer_that_removed_the_temporary_file_is_an_error_not_an_empty_file(tmp_path: Path):
    with pytest.raises((OSError, RunError), match="No such file"), atomic(tmp_path / "mesh.ply") as temporary:
        temporary.unlink()
    assert names(tmp_path) == []


def test_the_new_file_replaces_the_old_one(tmp_path: Path):
    out = tmp_path / "mesh.ply"
    for text in ("first", "second"):
        with atomic(out) as temporary:
            temporary.write_text(text)
    assert out.read_text() == "second"


def test_the_new_file_has_the_rights_any_new_file_has(tmp_path: Path):
    before = os.umask(0o027)
    try:
        with atomic(tmp_path / "mesh.ply") as temporary:
            temporary.write_text("whole")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "mesh.ply").stat().st_mode) == 0o640


def test_the_umask_of_the_process_stays(tmp_path: Path):
    before = os.umask(0o077)
    try:
        with atomic(tmp_path / "mesh.ply"):
            pass
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)


def test_a_folder_of_that_name_is_refused_and_left_alone(tmp_path: Path):
    out = tmp_path / "mesh.ply"
    out.mkdir()
    with pytest.raises(RunError, match="is a folder"), atomic(out) as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == ["mesh.ply"]
    assert names(out) == []


def test_a_file_in_the_place_of_the_folder_is_refused_in_words(tmp_path: Path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(RunError, match=r"mesh\.ply: cannot be written"), atomic(tmp_path / "out" / "mesh.ply"):
        pytest.fail("the block was entered")


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path):
    out = tmp_path / "mesh.ply"
    with atomic(out) as first, atomic(out) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert out.read_text() == "first"
    assert names(tmp_path) == ["mesh.ply"]


@pytest.mark.parametrize("name", ["mesh.ply", "MESH.PLY", "a.b.ply"])
def test_a_known_ending_is_returned_in_small_letters(tmp_path: Path, name: str):
    assert require_suffix(tmp_path / name, (".obj", ".ply"), "a mesh file") == ".ply"


@pytest.mark.parametrize("name", ["mesh", "mesh.", "mesh.plyx", ".ply", "mesh.ply.gz"])
def test_another_ending_is_refused_with_those_there_are(tmp_path: Path, name: str):
    with pytest.raises(RunError, match=r"a mesh file ends in \.obj, \.ply; found"):
        require_suffix(tmp_path / name, (".obj", ".ply"), "a mesh file")


def test_a_folder_with_a_known_ending_is_refused(tmp_path: Path):
    (tmp_path / "mesh.ply").mkdir()
    with pytest.raises(RunError, match="is a folder"):
        require_suffix(tmp_path / "mesh.ply", (".ply",), "a mesh file")
