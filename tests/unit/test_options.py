"""Options: text to values, and signatures to parameters."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsdoc.model import UsageError
from opsdoc.options import (
    Duration,
    Opt,
    Param,
    Ratio,
    Size,
    ThreadId,
    convert,
    did_you_mean,
    limits_from,
    params_of,
    spelled,
)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("500ms", Duration, 0.5),
        ("5s", Duration, 5),
        ("10m", Duration, 600),
        ("0", Duration, 0),
        ("1.5h", Duration, 5400),
        ("64KiB", Size, 65536),
        ("1GB", Size, 10**9),
        ("512", Size, 512),
        ("85%", Ratio, 0.85),
        ("0.85", Ratio, 0.85),
        ("2854", ThreadId, 2854),
        ("0xb26", ThreadId, 2854),
        ("B26", ThreadId, 2854),
        ("26", ThreadId, 26),
        ("7", int, 7),
        ("1e3", float, 1000.0),
        ("true", bool, True),
        ("a b", str, "a b"),
        ("x/y", Path, Path("x/y")),
        ("json", Literal["text", "json"], "json"),
    ],
)
def test_text_becomes_a_value_in_base_units(text, kind, value):
    assert convert(text, kind) == value


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("5", Duration),
        ("-1s", Duration),
        ("999999999d", Duration),
        ("5 s s", Duration),
        ("", Duration),
        ("1.2.3", Size),
        ("1XB", Size),
        ("101%", Ratio),
        ("1.1", Ratio),
        ("0xzz", ThreadId),
        ("0x123456789", ThreadId),
        ("", ThreadId),
        ("-3", int),
        ("3.0", int),
        ("٣", int),
        ("nan", float),
        ("inf", float),
        ("yes", bool),
        ("jsn", Literal["text", "json"]),
    ],
)
def test_a_bad_value_says_what_to_write(text, kind):
    with pytest.raises(ValueError, match=r"write|choose"):
        convert(text, kind)


@given(st.text(max_size=20))
@pytest.mark.parametrize("kind", [Duration, Size, Ratio, ThreadId, int, float, bool, Literal["a"]])
def test_any_text_is_a_value_or_a_value_error(kind, text):
    with contextlib.suppress(ValueError):
        convert(text, kind)


@pytest.mark.parametrize("value", [Duration(2), Duration(0.25), Duration(0), Duration(600), Ratio(0.85), Ratio(1)])
def test_a_value_is_spelled_as_it_can_be_typed(value):
    assert convert(spelled(value), type(value)) == value


def test_a_near_word_is_offered_and_a_far_one_is_not():
    assert did_you_mean("jsn", ["json", "text"]) == " (did you mean 'json'?)"
    assert did_you_mean("zzz", ["json", "text"]) == ""


def test_parameters_are_read_from_the_signature_in_its_order():
    two = Duration(2)

    def run(
        host,
        *,
        pid: Annotated[int, Opt("whose", positional=True)],
        window: Annotated[Duration, Opt("how long", "TIME")] = two,
        form: Annotated[Literal["a", "b"] | None, Opt("which")] = None,
        conf: Annotated[list[Path], Opt("where", short="-c")] = (),
        frames: Annotated[bool, Opt("no stacks")] = True,
    ): ...

    pid, window, form, conf, frames = params_of(run)
    assert (pid.required, pid.metavar, window.required) == (True, "N", False)
    assert (window.type, window.default, window.metavar) == (Duration, 2, "TIME")
    assert (form.type, form.metavar) == (Literal["a", "b"], "a|b")
    assert (conf.many, conf.metavar, conf.read("x")) == (True, "PATH", Path("x"))
    assert frames.flag == "--no-frames"
    assert Param("pause_budget", Duration, Opt(""), None, required=False).flag == "--pause-budget"


def test_limits_are_numbers_in_the_unit_of_their_field():
    known = ["hot.thread_cpu", "box.busy"]
    pairs = ["hot.thread_cpu=0.5:0.9", "box.busy=85%:95%", "hot.thread_cpu=1:2s"]
    assert limits_from(pairs, known) == {"hot.thread_cpu": (1.0, 2.0), "box.busy": (0.85, 0.95)}


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("hot.thread_cpu", "write signal.field=WARN:CRIT"),
        ("hot.thread_cpu=1", "write signal.field=WARN:CRIT"),
        ("hot.thred_cpu=1:2", "did you mean 'hot.thread_cpu'"),
        ("x=1:2", "it is one of hot.thread_cpu"),
        ("hot.thread_cpu=2:1", "WARN is above CRIT"),
        ("hot.thread_cpu=nan:1", "is not a number"),
        ("hot.thread_cpu=-1:1", "is not a number"),
        ("hot.thread_cpu=:", "is not a number"),
    ],
)
def test_a_bad_limit_is_a_usage_error(pair, words):
    with pytest.raises(UsageError, match=words):
        limits_from([pair], ["hot.thread_cpu"])
