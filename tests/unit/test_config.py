"""Configuration: YAML that can do no harm, errors with their place, and which file wins."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from opsdoc import config
from opsdoc.config import parse, places, read_config
from opsdoc.model import UsageError


def plain(text):
    node = parse(text.encode(), "f.yml")
    return None if node is None else node.plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: true", True),
        ("a: yes", "yes"),
        ("a: on", "on"),
        ("a: No", "No"),
        ("a: 010", "010"),
        ("a: 0x1F", "0x1F"),
        ("a: 1:30", "1:30"),
        ("a: 0.5:0.9", "0.5:0.9"),
        ("a: 2024-01-02", "2024-01-02"),
        ("a: 1_000", "1_000"),
        ("a: -7", -7),
        ("a: 2.5e3", 2500.0),
        ("a: 1e999", "1e999"),
        ("a: .inf", ".inf"),
        ("a: '7'", "7"),
        ("a: !x 7", None),
        ("a: ~", None),
        ("a:", None),
        ("a: [1, two]", [1, "two"]),
        ("a: {b: {c: d}}", {"b": {"c": "d"}}),
        ("a: |\n  x\n  y\n", "x\ny\n"),
    ],
)
def test_scalars_are_what_they_look_like(text, value):
    if "!x" in text:
        with pytest.raises(UsageError, match=r"f.yml:1:4: tags"):
            plain(text)
    else:
        assert plain(text) == {"a": value}


def test_an_empty_document_is_none():
    assert plain("") is None
    assert plain("# only a comment\n") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yml:3:1: 'a' stands here twice"),
        ("a: &x 1\nb: *x\n", "f.yml:1:4: anchors and aliases"),
        ("a: {<<: *x}", "f.yml:1:9: anchors and aliases"),
        ("a: !!python/object/apply:os.system ['true']", "f.yml:1:4: tags"),
        ("a: 1\n---\nb: 2\n", "f.yml:2:1: more than one document"),
        ("? [1, 2]\n: x\n", "f.yml:1:3: a key must be text"),
        ("a: [1, 2\nb: c", "f.yml:2:"),
        ("a: 'x\n", "f.yml:2:1"),
        ("\tx: 1", "f.yml:1:1"),
        ("a: \x00", "f.yml"),
        ("[" * 40 + "]" * 40, "nested deeper than 32"),
        ("[" * 200_000, "nest"),
    ],
)
@pytest.mark.parametrize("pure", [False, True])
def test_what_could_surprise_is_an_error_with_its_place(text, words, pure, monkeypatch):
    if pure:
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    with pytest.raises(UsageError) as caught:
        plain(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_too_many_bytes_are_errors():
    with pytest.raises(UsageError, match=r"f.yml"):
        parse(b"a: \xff\xfe\xff", "f.yml")
    with pytest.raises(UsageError, match=r"larger than 1 MiB"):
        parse(b"#" * (config.SIZE_CAP + 1), "f.yml")


@given(st.one_of(st.binary(max_size=60), st.text(alphabet="ab:-[]{}&*!'\"\n #|>?\t%", max_size=40).map(str.encode)))
def test_any_bytes_are_a_tree_or_a_usage_error(data):
    with contextlib.suppress(UsageError):
        parse(data, "f.yml")


def test_keys_and_values_know_their_place():
    root = parse(b"a: 1\nlimits:\n  x.y: 2s\n", "f.yml")
    key, node = next(iter(root.mapping("the file")["limits"].mapping("limits").items()))
    assert (str(key.mark), str(node.mark), node.text) == ("f.yml:3:3", "f.yml:3:8", "2s")


# ── files ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_nearest_file_wins_key_by_key(folder):
    (folder / "near.yml").write_text("timeout: 5s\nlimits: {a.b: '1:2'}\n")
    (folder / "far.yml").write_text("timeout: 9s\nrows: 7\nlimits: {a.b: '3:4', c.d: 5:6}\n")
    found = read_config([folder / "none.yml", folder / "near.yml", folder / "far.yml"])
    assert {key: node.text for key, node in found.values.items()} == {"timeout": "5s", "rows": "7"}
    assert {key: node.text for key, node in found.limits.items()} == {"a.b": "1:2", "c.d": "5:6"}
    assert found.files == (str(folder / "near.yml"), str(folder / "far.yml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("timeot: 5s", "c.yml:1:1: no key 'timeot' in the configuration (did you mean 'timeout'?)"),
        ("output: /etc/passwd", "no key 'output'"),
        ("record: x", "no key 'record'"),
        ("limits: 5", "c.yml:1:9: limits must be a mapping"),
        ("limits: {a: [1]}", "limit 'a' must be one value"),
        ("timeout: [5s]", "'timeout' must be one value"),
        ("timeout:", "'timeout' must be one value"),
        ("- 1", "c.yml:1:1: the configuration must be a mapping"),
    ],
)
def test_what_a_file_may_not_say_is_an_error(folder, text, words):
    (folder / "c.yml").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config([folder / "c.yml"])
    assert words in str(caught.value)


def test_a_strangers_file_in_the_current_directory_is_ignored_and_told(folder):
    config.PROJECT.write_text("timeout: 5s")
    config.PROJECT.chmod(0o666)
    found = read_config([config.PROJECT])
    assert (found.files, found.ignored) == ((), ("opsdoc.yml: anybody may write it",))
    config.PROJECT.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(config.PROJECT, 4242, 4242)
        assert "another user (uid 4242)" in read_config([config.PROJECT]).ignored[0]


def test_a_pipe_or_a_folder_in_place_of_a_file_makes_nobody_wait(folder):
    os.mkfifo("pipe.yml")
    (folder / "folder.yml").mkdir()
    found = read_config([folder / "pipe.yml", folder / "folder.yml"])
    assert [text.rpartition(": ")[2] for text in found.ignored] == ["not a regular file", "not a regular file"]


def test_places_are_the_project_the_user_and_the_system(monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/anna")
    names = [str(place) for place in places()]
    assert names == ["opsdoc.yml", "/home/anna/.config/opsdoc/config.yml", "/etc/opsdoc.yml"]
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x")
    assert str(places()[1]) == "/x/opsdoc/config.yml"


def test_yaml_is_not_imported_without_a_file(folder):
    code = "import sys; from opsdoc import config as c; c.read_config(c.places()[:1]); sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=folder).returncode == 0
