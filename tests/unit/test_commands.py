"""The command line from inside: where values come from, help, the lazy commands, progress."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal, NamedTuple

import pytest

from opsdoc import commands, config, probes
from opsdoc.commands import Commands, dispatch
from opsdoc.commands.cli import Spec, help_of, listed
from opsdoc.commands.output import wants_color, with_color_variables
from opsdoc.commands.probe import command_of, limit_names
from opsdoc.commands.progress import Progress
from opsdoc.commands.running import again
from opsdoc.commands.values import Sources, limits, resolve
from opsdoc.config import Config, parse
from opsdoc.model import Finding, Limit, Observation, Severity, UsageError, Window, measure
from opsdoc.options import Duration, Opt, Param, params_of
from opsdoc.probes import Probe

# ── a tiny probe ─────────────────────────────────────────────────────────────────────────────────


class Cup(Observation):
    kind = "cup"
    level: float = measure("level", "ratio", "main")
    asked: str = measure("asked")


class CupLimits(NamedTuple):
    level: Limit = Limit(0.5, 0.9, "ratio", "a full cup spills")


def judge(observations, _unseen, limits):
    for cup in observations:
        yield Finding(
            rule="cup.full",
            key="cup.full",
            severity=limits.level.grade(cup.level),
            subject=cup.subject,
            summary=f"the cup holds {cup.level}",
        )


AT_ONCE = Duration(0)
CUP = SimpleNamespace(__name__="opsdoc.signals.cup", Limits=CupLimits, judge=judge)


def look(
    host,
    *,
    pid: Annotated[int, Opt("which process", metavar="PID", positional=True)],
    level: Annotated[float, Opt("how full it is", "LEVEL", short="-l")] = 0.6,
    color_of: Annotated[Literal["red", "blue"] | None, Opt("its colour")] = None,
    conf: Annotated[list[Path], Opt("where it stands")] = (),
    frames: Annotated[bool, Opt("without frames")] = True,
    window: Annotated[Duration, Opt("between two sips", "DURATION", group="How long")] = AT_ONCE,
) -> Iterator[Cup | Window]:
    """Look into a cup.

    A longer explanation
    of it.
    """
    host.sleep(window)
    yield Window(seconds=window)
    yield Cup(subject=f"cup {pid}", level=level, asked=f"{color_of} {[str(c) for c in conf]} {frames}")


PROBE = Probe("cup", look, (CUP,), (Cup,), (), "opsdoc cup 7 --level 0.8", 5.0)


@pytest.fixture(autouse=True)
def _own_world(tmp_path, monkeypatch):
    """No configuration or variable of the machine, and the signal handlers as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "places", lambda: (config.PROJECT,))
    for name in [*(n for n in os.environ if n.startswith("OPSDOC_")), "NO_COLOR", "FORCE_COLOR"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def cup(capsys):
    def run(*argv, probe=PROBE):
        code = command_of(probe).main(list(argv), prog_name="opsdoc cup", standalone_mode=False)
        return code, capsys.readouterr().out

    return run


def only_cup(out):
    return json.loads(out)["results"][0]["observations"][0]


# ── the command of a probe ───────────────────────────────────────────────────────────────────────


def test_a_probes_signature_is_its_command_line(cup):
    argv = ["7", "-l", "0.95", "--color-of", "blue", "--conf", "a", "--conf", "b", "--no-frames", "--json"]
    code, out = cup(*argv)
    assert code == 2
    assert only_cup(out)["subject"] == "cup 7"
    assert only_cup(out)["asked"] == "blue ['a', 'b'] False"


def test_the_exit_code_is_the_verdict_or_what_fail_on_makes_of_it(cup):
    assert cup("7", "--level", "0.1")[0] == 0
    assert cup("7")[0] == 1
    assert cup("7", "--fail-on", "critical")[0] == 0
    assert cup("7", "--level", "1", "--fail-on", "critical")[0] == 2
    assert cup("7", "--level", "1", "--exit-zero")[0] == 0
    assert cup("7", "--limit", "cup.level=10%:20%")[0] == 2


def test_files_are_written_by_their_suffix_and_text_to_stdout_unless_quiet(cup, tmp_path):
    code, out = cup("7", "-o", "r.json", "-o", "r.md")
    assert (code, out.startswith("opsdoc cup")) == (1, True)
    assert json.loads((tmp_path / "r.json").read_text())["exit_code"] == 1
    assert (tmp_path / "r.md").stat().st_mode & 0o777 == 0o600
    assert cup("7", "-q", "-o", "r.json")[1] == ""
    assert cup("7", "-q")[1] != ""


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "missing PID; see 'opsdoc cup --help'"),
        (["x"], "bad PID 'x': write a whole number"),
        (["7", "--level", "much"], "bad --level 'much': write a number"),
        (["7", "--color-of", "read"], "did you mean 'red'"),
        (["7", "--window", "9s"], "window of 9 s does not fit into the timeout of 5 s"),
        (["7", "--timeout", "0"], "--timeout must be above 0"),
        (["7", "--limit", "cup.lvel=1:2"], "did you mean 'cup.level'"),
        (["7", "--json", "-f", "md"], "contradict"),
        (["7", "-o", "r.jsn"], "did you mean '.json'"),
        (["7", "-o", "no/r.json"], "no is not a directory"),
        (["7", "-o", "link.json"], "it is a symlink"),
        (["7", "--record", "full"], "not an empty directory"),
        (["7", "--record", "no/r.tar.gz"], "no is not a directory"),
        (["7", "--replay", "no.tar.gz"], "cannot replay no.tar.gz"),
        (["7", "--replay", "full"], "it is not a recording"),
        (["7", "--record", "a", "--replay", "b"], "cannot go together"),
        (["7", "--proc", "full"], "not a mounted proc"),
    ],
)
def test_what_can_be_known_before_is_one_line_and_nothing_is_run(cup, tmp_path, monkeypatch, argv, words):
    monkeypatch.setattr("opsdoc.engine.run", lambda *_: pytest.fail("the probe was run"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "recording.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("elsewhere")
    with pytest.raises(UsageError) as caught:
        cup(*argv)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "link.json"]


def test_a_recording_is_replayed_with_the_options_it_was_made_with(cup):
    def sip(
        host,
        *,
        pid: Annotated[int, Opt("which process", metavar="PID", positional=True)],
        level: Annotated[float, Opt("how full it is")] = 0.6,
        color_of: Annotated[Literal["red", "blue"] | None, Opt("its colour")] = None,
        frames: Annotated[bool, Opt("without frames")] = True,
    ):
        yield from look(host, pid=pid, level=level, color_of=color_of, frames=frames)

    probe = dataclasses.replace(PROBE, run=sip)
    cup("7", "--level", "0.95", "--color-of", "red", "--no-frames", "--record", "r.tar.gz", probe=probe)
    code, out = cup("--replay", "r.tar.gz", "--json", probe=probe)
    assert (code, only_cup(out)["subject"], only_cup(out)["asked"]) == (2, "cup 7", "red [] False")
    code, out = cup("--replay", "r.tar.gz", "--json", "--level", "0.1", probe=probe)
    assert code == 0


def test_help_is_a_sentence_an_example_and_options_grouped_as_people_think(cup):
    _, out = cup("--help")
    lines = out.splitlines()
    assert lines[:5] == ["Look into a cup.", "", "  opsdoc cup 7 --level 0.8", "", "A longer explanation of it."]
    assert "Usage: opsdoc cup PID [OPTIONS]" in lines
    groups = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert groups == ["What to look at:", "How long:", "Output:", "Verdict:", "Evidence:", groups[-1]]
    assert max(map(len, lines)) <= 80
    assert out.isascii()
    assert "  cup.level=0.5:0.9  ratio: a full cup spills" in lines


def test_a_long_first_column_stands_on_a_line_of_its_own():
    assert listed([("a" * 40, "told")], 60).splitlines() == ["  " + "a" * 40, " " * 32 + "told"]
    assert help_of(Spec(name="x", sentence="S.", example="x", params=(), run=lambda _: 0), "opsdoc x", 60).endswith(
        "\n"
    )


# ── where values come from ───────────────────────────────────────────────────────────────────────

TIMEOUT = Param("timeout", Duration, Opt("for all"), Duration(30), required=False)


def files(text):
    node = parse(text.encode(), "opsdoc.yml")
    values = node.mapping("it")
    return Config(values, values.pop("limits").mapping("limits") if "limits" in values else {}, ("opsdoc.yml",))


def test_option_before_recording_before_environment_before_file_before_default():
    layers = {
        "given": {"timeout": "1s"},
        "recorded": {"timeout": 2.0},
        "environment": {"OPSDOC_TIMEOUT": "3s"},
        "config": files("timeout: 4s"),
    }
    for expected, name in enumerate(layers, 1):
        assert resolve([TIMEOUT], Sources(**{"given": {}, **layers})) == {"timeout": expected}
        layers[name] = {"given": {}, "recorded": {}, "environment": {}, "config": Config({}, {}, ())}[name]
    assert resolve([TIMEOUT], Sources(**layers)) == {"timeout": 30}


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"environment": {"OPSDOC_TIMEOUT": "3"}}, "bad OPSDOC_TIMEOUT '3': write a duration"),
        ({"config": files("a: 1\ntimeout: 3")}, "opsdoc.yml:2:10: bad timeout '3': write a duration"),
        ({"recorded": {"timeout": True}}, "bad recorded timeout"),
        ({"recorded": {"timeout": []}}, "bad recorded timeout"),
    ],
)
def test_a_bad_value_says_where_it_stands(sources, words):
    with pytest.raises(UsageError) as caught:
        resolve([TIMEOUT], Sources(**{"given": {}, **sources}))
    assert words in str(caught.value)


def test_a_repeatable_option_in_the_environment_is_words_as_in_a_shell():
    output = Param("output", list[Path], Opt("where"), None, required=False)
    found = resolve([output], Sources(given={}, environment={"OPSDOC_OUTPUT": "a.md 'b c.md'"}))
    assert found == {"output": [Path("a.md"), Path("b c.md")]}
    with pytest.raises(UsageError, match=r"bad OPSDOC_OUTPUT"):
        resolve([output], Sources(given={}, environment={"OPSDOC_OUTPUT": "'a"}))


def test_positional_values_come_from_nowhere_else():
    pid = next(param for param in params_of(look) if param.name == "pid")
    with pytest.raises(UsageError, match=r"missing PID"):
        resolve([pid], Sources(given={}, environment={"OPSDOC_PID": "7"}))


def test_limits_are_merged_name_by_name():
    sources = Sources(
        given={"limit": ["a.x=1:2"]},
        environment={"OPSDOC_LIMIT": "a.x=3:4 a.y=3:4"},
        config=files("limits: {a.x: '5:6', a.y: '5:6', a.z: '5:6', hot.thread_cpu: '1:2'}"),
    )
    assert limits(["a.x", "a.y", "a.z"], sources) == {"a.x": (1, 2), "a.y": (3, 4), "a.z": (5, 6)}


def test_a_file_may_set_limits_of_other_probes_but_not_of_none():
    with pytest.raises(UsageError, match=r"opsdoc.yml:1:\d+: bad limit 'hot.thred_cpu=1:2'"):
        limits(["a.x"], Sources(given={}, config=files("limits: {hot.thred_cpu: '1:2'}")))
    assert limit_names(PROBE) == ["cup.level"]


def test_colour_is_decided_by_option_variables_and_terminal(monkeypatch):
    assert "OPSDOC_COLOR" not in with_color_variables({})
    assert with_color_variables({"NO_COLOR": "1", "FORCE_COLOR": "1"})["OPSDOC_COLOR"] == "never"
    assert with_color_variables({"FORCE_COLOR": "1"})["OPSDOC_COLOR"] == "always"
    assert "OPSDOC_COLOR" not in with_color_variables({"NO_COLOR": "", "FORCE_COLOR": "0"})
    assert with_color_variables({"NO_COLOR": "1", "OPSDOC_COLOR": "always"})["OPSDOC_COLOR"] == "always"
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setenv("TERM", "xterm")
    assert [wants_color(choice) for choice in ("auto", "always", "never")] == [True, True, False]
    monkeypatch.setenv("TERM", "dumb")
    assert [wants_color(choice) for choice in ("auto", "always", "never")] == [False, True, False]


def test_again_can_be_pasted_anywhere(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bin/opsdoc", "cpu", "-o", "a b.html"])
    assert again() == f"{Path.cwd()}/bin/opsdoc cpu -o 'a b.html'"
    monkeypatch.setattr(sys, "argv", ["/x/opsdoc/__main__.py", "cpu"])
    assert again() == f"{sys.executable} -m opsdoc cpu"


# ── the commands ─────────────────────────────────────────────────────────────────────────────────


def test_only_the_command_that_is_run_is_imported_and_groups_follow_the_names(monkeypatch):
    monkeypatch.setattr(probes, "names", lambda: ("zebra", "mq.kafka", "mq.redis-streams", "cpu"))
    monkeypatch.setattr(probes, "load", lambda name: dataclasses.replace(PROBE, name=name))
    root = Commands(name="opsdoc")
    assert root.list_commands(None) == ["cpu", "mq", "run", "playbook", "report", "demo", "schema", "zebra"]
    group = root.get_command(None, "mq")
    assert group.list_commands(None) == ["kafka", "redis-streams"]
    assert group.get_command(None, "kafka").name == "kafka"
    assert root.get_command(None, "kafka") is None


def test_a_command_in_a_group_is_run(monkeypatch, capsys):
    monkeypatch.setattr(probes, "names", lambda: ("mq.cup",))
    monkeypatch.setattr(probes, "load", lambda name: dataclasses.replace(PROBE, name=name))
    assert dispatch(["mq", "cup", "7", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["title"] == "mq cup"
    with pytest.raises(UsageError, match=r"no command 'cpu'.*'cup'.*see 'opsdoc mq --help'"):
        dispatch(["mq", "cpu"])


def test_every_command_is_explained_by_one_sentence():
    group = Commands(name="opsdoc")
    for name in group.list_commands(None):
        sentence = group.get_command(None, name).get_short_help_str()
        assert sentence.endswith(".")
        assert "\n" not in sentence


def test_an_empty_line_does_not_pass_for_ok(capsys):
    assert dispatch([]) == 64
    assert commands.SENTENCE in " ".join(capsys.readouterr().err.split())


# ── progress ─────────────────────────────────────────────────────────────────────────────────────


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_rewrites_its_line_and_is_gone_at_the_end(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("opsdoc.commands.progress.FIRST_AFTER", 0.01)
    with Progress("opsdoc cup", 5.0, quiet=False) as progress:
        time.sleep(0.1)
        progress.announce("a \x1b[31mname")
    told = sys.stderr.getvalue()
    assert "opsdoc cup" in told
    assert "opsdoc: a \\x1b[31mname\n" in told
    assert told.endswith(("\n", "\r\x1b[K"))


@pytest.mark.parametrize(("stderr", "term"), [(io.StringIO, "xterm"), (Terminal, "dumb")])
def test_without_a_terminal_there_are_only_announcements(monkeypatch, stderr, term):
    monkeypatch.setattr(sys, "stderr", stderr())
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("opsdoc.commands.progress.FIRST_AFTER", 0.01)
    with Progress("opsdoc cup", 5.0, quiet=False) as progress:
        time.sleep(0.05)
        progress.announce("known early")
    assert sys.stderr.getvalue() == "opsdoc: known early\n"


def test_quiet_tells_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("opsdoc.commands.progress.FIRST_AFTER", 0.01)
    with Progress("opsdoc cup", 5.0, quiet=True) as progress:
        time.sleep(0.05)
        progress.announce("known early")
    assert sys.stderr.getvalue() == ""


def test_severities_of_fail_on_are_the_models():
    assert [Severity[word.upper()] for word in ("warning", "unknown", "critical")] == [1, 2, 3]
