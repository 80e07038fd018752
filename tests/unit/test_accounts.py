"""Passwords: from an address, a variable or a file, read when they are needed, and shown to nobody."""

from __future__ import annotations

import pytest

from opsdoc.clients.accounts import CAP, Login
from opsdoc.clients.rocketmq_account import Account
from opsdoc.model import UsageError

SECRET = "hunter2hunter2"


def test_a_password_is_read_from_where_it_stands(tmp_path, monkeypatch):
    file = tmp_path / "secret"
    file.write_bytes(f"{SECRET}\r\nanother line\n".encode() + b"x" * CAP)
    monkeypatch.setenv("DB_PASSWORD", SECRET)
    for login in (
        Login.of("bob", SECRET),
        Login.of("bob", "other", password_env="DB_PASSWORD"),
        Login.of("bob", "other", password_file=file),
        Login.of("alice", SECRET, option="bob"),
    ):
        assert (login.user, login.password()) == ("bob", SECRET)
        assert SECRET not in f"{login} {login!r} {[login]}"
    assert (Login().user, Login().password()) == (None, None)


def test_a_password_need_not_be_utf_8(tmp_path):
    (tmp_path / "secret").write_bytes(b"caf\xe9\n")
    password = Login(password_file=tmp_path / "secret").password()
    assert password is not None
    assert password.encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_a_password_that_is_not_there_is_told_when_it_is_needed(tmp_path):
    (tmp_path / "empty").write_text("\nsecond line\n")
    (tmp_path / "long").write_bytes(b"x" * (CAP + 1))
    for login, words in (
        (Login(password_env="NO_SUCH_VARIABLE"), "no password in the variable NO_SUCH_VARIABLE"),
        (Login(password_file=tmp_path / "empty"), "no password in"),
        (Login(password_file=tmp_path / "missing"), "no such file"),
        (Login(password_file=tmp_path), "not a regular file"),
        (Login(password_file=tmp_path / "long"), "larger than 64 KiB"),
    ):
        with pytest.raises(UsageError, match=words):
            login.password()


def test_a_variable_and_a_file_exclude_each_other(tmp_path):
    with pytest.raises(UsageError, match="exclude each other"):
        Login.of(None, None, password_env="A", password_file=tmp_path / "b")
    with pytest.raises(UsageError, match="exclude each other"):
        Account("bob", "A", tmp_path / "b").check()


def test_an_account_is_a_user_with_such_a_password(tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    assert Account("bob", password_file=tmp_path / "secret").credentials()[:2] == ("bob", SECRET)
