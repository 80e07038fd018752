"""What opsdoc writes: whole or not at all, for the owner only, never through a symlink."""

from __future__ import annotations

import os

import pytest

from opsdoc import files
from opsdoc.files import check_folder, check_writable, write_atomically, write_folder
from opsdoc.model import UsageError


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def _open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_file_is_the_owners_only_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "r.json"
    write_atomically(path, b"one")
    assert (path.read_bytes(), mode(path)) == (b"one", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_replaced_with_its_permissions(tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(b"a longer text of before")
    path.chmod(0o644)
    write_atomically(path, b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)


@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_nothing_is_written_through_a_symlink(tmp_path, target):
    (tmp_path / "there").write_bytes(b"precious")
    link = tmp_path / "r.json"
    link.symlink_to(tmp_path / target)
    for check in (check_writable, lambda path: write_atomically(path, b"x")):
        with pytest.raises(UsageError, match="symlink"):
            check(link)
    assert (tmp_path / "there").read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()


def test_a_symlink_at_the_temporary_name_is_not_followed(tmp_path):
    path = tmp_path / "r.json"
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (tmp_path / f".r.json.{os.getpid()}.part").symlink_to(precious)
    with pytest.raises(UsageError, match="cannot write"):
        write_atomically(path, b"x")
    assert precious.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("name", "words"),
    [("no/r.json", "is not a directory"), ("folder", "not a regular file"), ("fifo", "not a regular file")],
)
def test_what_cannot_be_written_is_known_before(tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match=words):
        check_writable(tmp_path / name)


def test_a_folder_without_permission_is_known_before(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="no permission to create a file"):
        check_writable(tmp_path / "r.json")
    with pytest.raises(UsageError, match="no permission"):
        check_folder(tmp_path / "new")
    with pytest.raises(UsageError, match="no permission"):
        check_folder(tmp_path / "there")


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    path.write_bytes(b"old")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "replace", full)
    with pytest.raises(UsageError, match="No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_new_or_empty_and_the_owners_only(tmp_path):
    for folder in (tmp_path / "new", tmp_path / "empty"):
        if folder.name == "empty":
            folder.mkdir()
        write_folder(folder, {"a.json": b"a", "blobs/1": b"b"})
        assert (folder / "blobs" / "1").read_bytes() == b"b"
        assert [mode(folder / name) for name in ("a.json", "blobs", "blobs/1")] == [0o600, 0o700, 0o600]
    assert mode(tmp_path / "new") == 0o700
    with pytest.raises(UsageError, match="not an empty directory"):
        write_folder(tmp_path / "new", {"a": b""})


def test_a_folder_is_not_written_through_a_symlink_or_over_a_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "file").write_bytes(b"")
    for name, words in (("link", "symlink"), ("file", "not an empty directory"), ("no/deeper", "no permission")):
        with pytest.raises(UsageError, match=words):
            check_folder(tmp_path / name)
    assert list((tmp_path / "folder").iterdir()) == []


def test_standard_output_that_nobody_takes_goes_nowhere():
    reading, writing = os.pipe()
    os.close(reading)
    kept = os.dup(1)
    try:
        os.dup2(writing, 1)
        files.abandon_stdout()
        assert os.write(1, b"x") == 1
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(writing)
