"""Pthread handles to thread ids, on the threads of this very process; and dumps of Pythons that need them."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsdoc.clients import Live
from opsdoc.clients.pthreads import PthreadIds, c_library
from opsdoc.looks.python_stacks import PythonStacks
from opsdoc.looks.stacks import Partial
from opsdoc.model import Denied, Malformed, Unreachable, Unsupported
from opsdoc.parsers.procfs import parse_stat
from opsdoc.redact import Redactor

# ── handles of living threads ────────────────────────────────────────────────────────────────────


def started(pid: int) -> int:
    return parse_stat(Path(f"/proc/{pid}/stat").read_bytes()).started


def ask(*handles: int, pid: int = 0, since: int | None = None) -> list[list[int | None]]:
    pid = pid or os.getpid()
    question = PthreadIds(pid, started(pid) if since is None else since, handles)
    assert question.key() == f"pthreads.ids {pid}"
    return question.answer(Live(deadline=time.monotonic() + 20, redactor=Redactor()))


@pytest.fixture
def threads() -> Iterator[list[threading.Thread]]:
    """Twenty threads that wait, and whoever else lives here."""
    over = threading.Event()
    for _ in range(20):
        threading.Thread(target=over.wait, daemon=True).start()
    yield threading.enumerate()
    over.set()


def test_each_handle_leads_to_its_own_thread(threads: list[threading.Thread]) -> None:
    handles = [thread.ident or 0 for thread in threads]
    assert ask(*handles) == [[thread.ident, thread.native_id] for thread in threads]


def test_a_handle_that_leads_nowhere_has_no_id() -> None:
    main = threading.main_thread().ident or 0
    text = id("not a thread at all, but memory of this process")
    for wrong in (0, 1, text, main + 8, (1 << 63) - 8, (1 << 64) - 1):
        assert ask(wrong, main) == [[wrong, None], [main, os.getpid()]]


def test_two_handles_that_claim_one_thread_are_not_believed(threads: list[threading.Thread]) -> None:
    main, other = threads[0], threads[1]
    got = ask(main.ident or 0, main.ident or 0, other.ident or 0)
    assert got == [[main.ident, None], [main.ident, None], [other.ident, other.native_id]]


def test_no_handle_that_leads_anywhere_is_no_answer() -> None:
    with pytest.raises(Unsupported, match="at no place that opsdoc knows"):
        ask(1, 2)


def test_another_process_that_got_the_pid_is_not_read() -> None:
    with pytest.raises(Unreachable, match="no process"):
        ask(threading.main_thread().ident or 0, since=1)


def test_of_somebody_elses_process_it_says_how_to_be_permitted() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    main, since = threading.main_thread().ident or 0, started(os.getpid())
    question = PthreadIds(os.getpid(), since, (main,))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            question.answer(Live(deadline=time.monotonic() + 20, redactor=Redactor(), again="opsdoc cpu"))
        except Denied as denied:
            code = 0 if denied.hint == "sudo opsdoc cpu" and "not permitted to read the memory" in denied.detail else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("names", "library"),
    [
        (["libc.so.6", "libpython3.8.so.1.0"], "glibc"),
        (["libc-2.17.so", "python3.6"], "glibc"),
        (["ld-musl-x86_64.so.1"], "musl"),
        (["libcrypt.so.1", "libc++.so.1", "python3.9"], None),
    ],
)
def test_the_c_library_by_what_is_mapped(names: list[str], library: str | None) -> None:
    assert c_library(frozenset(f"/lib/{name}" for name in names)) == library


# ── dumps without ids ────────────────────────────────────────────────────────────────────────────

STACKS = PythonStacks(77, 1234)


def dump(**functions: int) -> bytes:
    """A dump as of Python 3.8: a thread of that name at that handle, in a function called like it."""
    return json.dumps(
        [
            {
                "thread_id": handle,
                "os_thread_id": None,
                "thread_name": name,
                "active": True,
                "owns_gil": False,
                "frames": [{"name": f"in_{name}", "filename": "/srv/app.py", "line": 3}],
            }
            for name, handle in functions.items()
        ],
        indent=2,
    ).encode()


def seen_in(raw: bytes, complement: object, only: set[int] | None = None) -> dict[int, str]:
    """By thread id the function on top, or the doubt."""
    found = STACKS.read(raw, only, complement)
    return {tid: seen.doubt or seen.frames[0].function for tid, seen in found.items()}


def test_the_handles_of_all_dumps_are_asked_for_once() -> None:
    question = STACKS.complement([dump(a=1, b=2), b"torn", dump(b=2, c=3)], set())
    assert question == PthreadIds(77, 1234, (1, 2, 3))
    complete = dump(a=1).replace(b"null", b"501")
    assert STACKS.complement([complete], set()) is None
    assert STACKS.complement([b"torn"], set()) is None
    assert STACKS.complement([], set()) is None


def test_threads_are_found_by_the_ids_behind_their_handles() -> None:
    raw = dump(a=1, b=2, ended=3)
    answer = [[1, 501], [2, 502], [3, None]]
    assert seen_in(raw, answer) == {501: "in_a", 502: "in_b"}
    assert seen_in(raw, answer, {502, 900}) == {502: "in_b"}, "900 is native: no Python thread can be it"
    named = STACKS.read(raw, None, answer)[501]
    assert (named.name, named.role, named.frames[0].line) == ("a", "app", 3)


def test_without_the_ids_there_are_no_stacks() -> None:
    for nothing in (None, [], [[1, None]]):
        with pytest.raises(Unsupported, match="no thread ids for this Python"):
            STACKS.read(dump(a=1), {501}, nothing)
    with pytest.raises(Malformed):
        STACKS.read(b"torn", {501}, [[1, 501]])
    assert STACKS.read(b"[]", {501}, None) == {}


def test_a_handle_that_two_threads_had_gives_neither_the_stack_of_the_other() -> None:
    early, late = dump(a=1, b=2), dump(heir=1, b=2)
    question = STACKS.complement([early, late], set())
    assert question == PthreadIds(77, 1234, (2,))
    answer = [[2, 502]]
    for raw in (early, late):
        assert seen_in(raw, answer, {501, 502}) == {502: "in_b"}
        for only in (None, {501, 502}):
            partial = STACKS.read(raw, only, answer)
            assert isinstance(partial, Partial), "501 must not be taken for native"
            assert "cannot be told apart" in partial.reason
    assert seen_in(dump(b=2), answer, {501, 502}) == {502: "in_b"}
    nameless = dump(a=1).replace(b'"thread_name": "a"', b'"thread_name": null')
    assert STACKS.complement([early, nameless], set()) == PthreadIds(77, 1234, (1, 2)), "a name that was missed"


def test_ids_that_py_spy_tells_need_no_handle() -> None:
    raw = dump(a=1).replace(b"null", b"501")
    assert seen_in(raw, None, {501, 502}) == {501: "in_a"}
