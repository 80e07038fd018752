"""Playbook documents: what is right, what is wrong and where, and what comes with opsdoc."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import typing
from pathlib import Path

import jsonschema
import pytest

from opsdoc import config, probes
from opsdoc.config import parse as parse_yaml
from opsdoc.engine import Settings, run
from opsdoc.model import Severity, Unknown, UsageError
from opsdoc.playbook import arguments, document, parameters, scope, types
from opsdoc.playbook.document import Parallel
from opsdoc.playbook.expressions import ListOf, OneOf, Record
from opsdoc.playbook.schema import schema
from opsdoc.stop import Stop

SHIPPED = sorted((Path(__file__).parents[2] / "playbooks").glob("*.yml"))

HEAD = "apiVersion: opsdoc/v1\nname: small\ntitle: A small one\n"
STEPS = """steps:
  - id: box
    probe: top
    with: {window: 1s}
  - id: hot
    probe: stack
    when: steps.box.process[0].cpu > params.hot
    with: {pid: "${{ steps.box.process[0].pid }}"}
"""
PARAMS = "params:\n  hot: {type: float, default: 0.5}\n"
SMALL = HEAD + PARAMS + STEPS


def parse(text):
    return document.parse(text.encode(), "f.yml")


def wrong(text):
    with pytest.raises(UsageError) as caught:
        parse(text)
    return str(caught.value)


def with_params(lines):
    return HEAD + "params:\n" + "".join(f"  {line}\n" for line in lines) + "steps: [{id: box, probe: top}]\n"


def with_finding(*lines):
    return SMALL + "findings:\n  - id: one\n    title: T\n" + "".join(f"    {line}\n" for line in lines)


# ── what is right ────────────────────────────────────────────────────────────────────────────────


def test_a_document_becomes_its_nouns():
    playbook = parse(SMALL + "limits: {hot.process_cpu: '0.7:95%'}\n")
    assert (playbook.name, playbook.title, playbook.file) == ("small", "A small one", "f.yml")
    box, hot = playbook.steps
    assert (box.id, box.probe, box.when, box.optional, box.timeout) == ("box", "top", None, False, None)
    assert box.given["window"].text == "1s"
    assert hot.when.decide({"params": {"hot": 0.5}, "steps": {"box": {"process": [{"cpu": 0.7}]}}}) is True
    assert playbook.limits == {"hot.process_cpu": (0.7, 0.95)}
    assert "hot.process_cpu" in document.limit_names(playbook)


def test_steps_side_by_side_are_one_item_and_every_step_is_found():
    text = HEAD + "steps:\n  - parallel:\n    - {id: sight, probe: doctor}\n    - {id: box, probe: top}\n"
    (group,) = parse(text).steps
    assert isinstance(group, Parallel)
    assert [step.id for step in document.steps_of(parse(text))] == ["sight", "box"]


def test_the_plain_form_of_a_finding_rules_out_what_is_false():
    (finding,) = parse(with_finding("severity: warning", "when: steps.box.box[0].busy > 0.9", "message: M")).findings
    first, last = finding.outcomes
    assert (first.severity, first.message.text) == (Severity.WARNING, "M")
    assert (last.severity, last.when, last.message.text) == (Severity.OK, None, "ruled out: T")


def test_the_plain_form_without_when_always_holds_and_says_its_title():
    (finding,) = parse(with_finding("severity: ok")).findings
    assert [(one.severity, one.when, one.message.text) for one in finding.outcomes] == [(Severity.OK, None, "T")]


def test_outcomes_keep_their_order_and_evidence_and_advice_may_be_one_or_several():
    (finding,) = parse(
        with_finding(
            "outcomes:",
            "  - {severity: critical, when: 'steps.box.box[0].busy > 0.9', message: M}",
            "  - {severity: ok, message: fine}",
            "evidence: [steps.box.box, 'steps.box.process[:3]', 'steps.box.process[0]']",
            "advice: $ opsdoc cpu",
        )
    ).findings
    assert [one.severity for one in finding.outcomes] == [Severity.CRITICAL, Severity.OK]
    assert len(finding.evidence) == 3
    assert [one.text for one in finding.advice] == ["$ opsdoc cpu"]


# ── what is wrong, and where ─────────────────────────────────────────────────────────────────────

ALIAS_BOMB = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a, *a]\n" for n in range(9))


def condition(text):
    return SMALL.replace("when: steps.box.process[0].cpu > params.hot", f"when: {text}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # the lines of the issue
        (SMALL.replace("    probe: top", "    prob: top"),
         "f.yml:8:5: no key 'prob' in the step (did you mean 'probe'?)"),
        (SMALL + "name: again\n", "f.yml:14:1: 'name' stands here twice"),
        (condition("steps.bax.box[0].busy > 1"), "f.yml:12:17: steps has no field 'bax' (did you mean 'box'?)"),
        (condition("steps.box.box[0].buzy > 1"),
         "f.yml:12:28: steps.box.box[0] has no field 'buzy' (did you mean 'busy'?)"),
        (condition("'\"90\" > 5'"), "f.yml:12:12: a number and a text cannot be put in order"),
        (condition('"90" > 5'), "a text that begins with a quote or a bracket"),
        (condition("steps.__class__.__mro__"), "f.yml:12:17: a name does not begin with '_'"),
        (condition("().__class__.__subclasses__()"), "f.yml:12:12: "),
        (condition("10**10**9 > 1"), "f.yml:12:13: '**' is not part of the language"),
        (ALIAS_BOMB, "f.yml:1:4: anchors and aliases are not allowed"),
        (SMALL + "#" * 10_000_000, "the file is larger than 1 MiB"),
        (SMALL + "on: 1\n", "f.yml:14:1: no key 'on' in the playbook"),
        # frame
        ("", "f.yml:1:1: the playbook is empty"),
        ("- 1", "f.yml:1:1: the playbook must be a mapping"),
        (SMALL.replace("opsdoc/v1", "opsdoc/v2"), "f.yml:1:13: apiVersion must be opsdoc/v1"),
        (SMALL.replace("name: small\n", ""), "f.yml:1:1: the playbook has no 'name'"),
        (SMALL.replace("name: small", "name: A b"), "f.yml:2:7: write a name such as cpu-hot"),
        (SMALL.replace("A small one", "|\n  a\n  b"), "f.yml:3:8: the title must be one line"),
        (HEAD + "steps: []\n", "f.yml:4:8: steps must be a list with something in it"),
        (HEAD + "steps: [" + ", ".join(f"{{id: s{n}, probe: top}}" for n in range(51)) + "]", "at most 50 steps"),
        # limits
        (SMALL + "limits: {hot.process_cpv: '1:2'}",
         "f.yml:14:10: no limit 'hot.process_cpv' (did you mean 'hot.process_cpu'?)"),
        (SMALL + "limits: {gc.time: '1:2'}", "no limit 'gc.time'"),
        (SMALL + "limits: {hot.process_cpu: '2:1'}",
         "f.yml:14:27: bad limit 'hot.process_cpu=2:1': WARN is above CRIT"),
        # steps
        (SMALL.replace("probe: top", "probe: tpo"), "f.yml:8:12: no probe 'tpo' (did you mean 'top'?)"),
        (SMALL.replace("id: hot", "id: box"), "f.yml:10:9: there are two steps 'box'"),
        (SMALL.replace("id: hot", "id: class"), "f.yml:10:9: the id 'class' is taken"),
        (SMALL.replace("id: hot", "id: Hot"), "f.yml:10:9: write an id in small letters"),
        (SMALL.replace("window: 1s", "windw: 1s"),
         "f.yml:9:12: no key 'windw' in the options of 'top' (did you mean 'window'?)"),
        (SMALL.replace("window: 1s", "window: 1"), "f.yml:9:20: bad window '1': write a duration"),
        (SMALL.replace("window: 1s", "window: [1s]"), "f.yml:9:20: option 'window' must be one value"),
        (SMALL.replace("window: 1s", "window: "), "option 'window' must be given"),
        (SMALL.replace("process[0].pid }}", "process[0].name }}"),
         "f.yml:13:17: option 'pid' takes a number, not a text"),
        (SMALL.replace("steps.box.process[0].pid }}", "steps.hot.thread[0].pid }}"),
         "f.yml:13:28: steps has no field 'hot': that step has not run by then"),
        (HEAD + "steps: [{id: t, probe: threads}]", "f.yml:4:9: probe 'threads' needs the option 'pid'"),
        (SMALL.replace("with: {window: 1s}", "timeout: 0"), "f.yml:9:14: a timeout must be above 0"),
        (SMALL.replace("with: {window: 1s}", "timeout: 5"), "f.yml:9:14: bad timeout '5'"),
        (SMALL.replace("with: {window: 1s}", "optional: yes"), "f.yml:9:15: write true or false"),
        (condition("5"), "f.yml:12:11: true or false is needed here, not a number"),
        (condition(""), "f.yml:12:10: when must be given"),
        (condition("[1]"), "f.yml:12:11: when must be one value"),
        (HEAD + "steps:\n - parallel:\n   - {id: a, probe: top}\n   - {id: b, probe: cpu}\n",
         "f.yml:7:6: 'a' and 'b' both sample the CPU"),
        (HEAD + "steps:\n - parallel: [{id: a, probe: top}, {id: b, probe: doctor, when: 'steps.a.box[0].busy > 0'}]",
         "that step has not run by then"),
        (HEAD + "steps:\n - parallel:\n   - parallel: [{id: a, probe: top}]\n",
         "f.yml:6:6: no key 'parallel' in the step"),
        # findings
        (with_finding("severity: bad"), "f.yml:17:15: no severity 'bad'"),
        (with_finding("severity: warn"), "no severity 'warn' (did you mean 'warning'?)"),
        (with_finding("message: M"), "the finding has neither 'severity' nor 'outcomes'"),
        (with_finding("severity: ok", "outcomes: []"), "f.yml:17:15: with outcomes, 'severity' stands in each of them"),
        (with_finding("outcomes: [{severity: ok, when: 'true', message: M}]"),
         "f.yml:17:37: the last outcome is the default"),
        (with_finding("outcomes: [{severity: ok, message: M}, {severity: ok, message: M}]"),
         "f.yml:17:16: an outcome without 'when' stands last"),
        (with_finding("outcomes: [{severity: ok}]"), "the outcome has no 'message'"),
        (with_finding("severity: ok", "evidence: steps.box.box[0].busy"),
         "f.yml:18:15: evidence is an observation or a list"),
        (with_finding("severity: ok", "message: 'it is ${{ steps.box.box[0].bsy }}'"),
         "f.yml:18:42: steps.box.box[0] has no field 'bsy'"),
        (with_finding("severity: ok") + "  - {id: one, title: T, severity: ok}\n", "there are two findings 'one'"),
        # params
        (with_params(["a: {type: strng}"]), "f.yml:5:13: no type 'strng' (did you mean 'string'?)"),
        (with_params(["a: {default: 1}"]), "f.yml:5:6: parameter 'a' has no 'type'"),
        (with_params(["a: {type: duration, default: 3}"]), "f.yml:5:32: bad default '3': write a duration"),
        (with_params(["a: {type: percent, default: 120%}"]), "bad default '120%'"),
        (with_params(["a: {type: int, default: 0, min: 1}"]), "bad default '0': it is at least 1"),
        (with_params(["a: {type: int, min: 2, max: 1}"]), "bad max '1': it is at least 2"),
        (with_params(["a: {type: int, default: 1, required: true}"]), "has a default, so it is not required"),
        (with_params(["a: {type: enum}"]), "type enum needs choices"),
        (with_params(["a: {type: enum, choices: [x, y], default: z}"]), "bad default 'z': choose one of x, y"),
        (with_params(["a: {type: string, default: abc, pattern: ^x}"]), "does not match the parameter's pattern"),
        (with_params(["a: {type: string, pattern: 'x(y'}"]), "f.yml:5:32: '(' is never closed"),
        (with_params(["a: {type: secret, default: hunter2}"]),
         "of type secret has no 'default': write from_env or from_file"),
        (with_params(["a: {type: secret}"]), "needs from_env or from_file"),
        (with_params(["a: {type: int, from_env: X}"]), "of type int has no 'from_env'"),
        (with_params(["A: {type: int}"]), "f.yml:5:3: write a parameter's name in small letters"),
    ],
)  # fmt: skip
def test_a_bad_playbook_is_refused_with_its_place_in_time(text, words):
    began = time.monotonic()
    told = wrong(text)
    assert time.monotonic() - began < 10
    assert words in told
    assert all(re.match(r"f\.yml:\d+:\d+: ", line) for line in told.splitlines())


def test_all_mistakes_are_told_at_once_and_each_once():
    text = with_finding("severity: bad", "advice: ['${{ params.hut }}', '${{ steps.box.bax }}']").replace("top", "tup")
    assert [line.split(": ")[0] for line in wrong(text).splitlines()] == ["f.yml:8:12", "f.yml:18:26", "f.yml:17:15"]


def test_what_is_told_is_one_short_line_that_no_terminal_obeys():
    for text in (SMALL + '"\\e[2J\\n": 1\n', SMALL.replace("probe: top", f'probe: "\\e[2J\\n{"x" * 9000}"')):
        told = wrong(text)
        assert "\\x1b[2J\\x0a" in told
        assert told.isprintable()
        assert len(told) <= 400


@pytest.mark.parametrize(
    "text",
    [
        "[" * config.SIZE_CAP,
        "- a\n" * (config.SIZE_CAP // 4),
        "{a: " * (config.SIZE_CAP // 4),
        HEAD + "steps: " + "x" * 1_000_000,
        f"? {'x' * 1_000_000}\n: 1",
        SMALL.replace("probe: top", "probe: " + "x" * 1_000_000),
        condition("1 + " * 200_000),
        condition("not " * 200_000),
        condition('any(steps.box.process, "' + "((" * 2000 + '")'),
        SMALL + "description: |\n" + "  ${{ x }}\n" * 90_000,
        with_finding("severity: ok", "message: |\n" + "      ${{ x }}\n" * 60_000),
        with_finding("severity: ok", "advice:\n" + "    - a\n" * 9000),
    ],
    ids=range(12),
)
def test_a_mebibyte_of_malice_is_refused_or_read_in_time(text):
    began = time.monotonic()
    with contextlib.suppress(UsageError):
        parse(text)
    assert time.monotonic() - began < 10


def test_of_many_mistakes_ten_are_told():
    told = wrong(with_params([f"p{n}: {{type: nothing}}" for n in range(14)])).splitlines()
    assert (len(told), told[-1]) == (11, "and 4 more")


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("when: params.hut > 1", "6:18"),
        ("when: 'params.hut > 1'", "6:19"),
        ('when: "params.hut > 1"', "6:19"),
        ('when: "\\"a\\" == params.hut"', "6:28"),
        ("when: '''a'' == params.hut'", "6:28"),
        ("when: |\n        true\n        and params.hut > 1", "8:20"),
        ("when: >-\n        true\n        and params.hut > 1", "8:20"),
        ("when: true\n        and params.hut > 1", "7:20"),
        ("when: \"'é' == params.hut\"", "6:26"),
        ('when: "\\x61 == params.hut"', "6:11"),
    ],
)
def test_a_place_within_a_text_is_that_of_the_file(written, place):
    told = wrong(HEAD + f"steps:\n  - id: box\n    {written}\n    probe: top\n")
    assert told.startswith(f"f.yml:{place}: ")


def test_what_is_no_utf8_or_may_not_stand_in_yaml_has_its_place():
    for data, place in ((b"a: 1\nb: \xff\n", "2:4"), (b"a: x\x00", "1:5"), (b"\xef\xbb\xbfa: \x07", "1:4")):
        with pytest.raises(UsageError, match=f"^f.yml:{place}: "):
            document.parse(data, "f.yml")


def test_a_secret_can_be_an_option_and_nothing_that_is_shown():
    text = HEAD + "params: {pw: {type: secret, from_env: PW}}\n"
    text += "steps: [{id: s, probe: stack, with: {dump: '${{ params.pw }}'}}]\n"
    assert parse(text).params[0].from_env == "PW"
    told = wrong(text + "findings: [{id: a, title: '${{ params.pw }}', severity: ok}]\n")
    assert "params has no field 'pw'" in told


# ── parameters ───────────────────────────────────────────────────────────────────────────────────

ALL = with_params(
    [
        "text: {type: string, default: x, pattern: '^[a-z]+$'}",
        "whole: {type: int, min: -5, max: 5}",
        "number: {type: float}",
        "on: {type: bool, default: false}",
        "time: {type: duration, default: 3s, max: 1m}",
        "size: {type: size, default: 8MiB}",
        "share: {type: percent, default: 85%}",
        "which: {type: enum, choices: [red, green]}",
        "pid: {type: pid}",
        "host: {type: host}",
        "file: {type: path}",
    ]
)


def test_values_are_in_base_units_and_what_was_not_given_is_null():
    got = parameters.values(parse(ALL), ["time=500ms", "which=red", "whole=-3", "pid=2609", "host=[::1]:6379"])
    assert got == {
        "text": "x", "whole": -3, "number": None, "on": False, "time": 0.5, "size": 8 << 20, "share": 0.85,
        "which": "red", "pid": 2609, "host": "[::1]:6379", "file": None,
    }  # fmt: skip
    assert json.loads(json.dumps(got)) == got


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tim=3s", "bad -p 'tim': no such parameter (did you mean 'time'?)"),
        ("zzz=3s", "no such parameter; small has text, whole"),
        ("time", "write time=VALUE"),
        ("time=3", "bad -p time='3': write a duration"),
        ("time=2m", "it is at most 60s"),
        ("whole=9", "it is at most 5"),
        ("whole=x", "write a whole number"),
        ("text=ABC", "does not match"),
        ("which=rad", "choose one of red, green (did you mean 'red'?)"),
        ("pid=0", "write a process id"),
        ("host=a b", "write a host"),
        ("on=yes", "write true or false"),
    ],
)
def test_a_bad_value_is_refused_with_what_to_write(given, words):
    with pytest.raises(UsageError) as caught:
        parameters.values(parse(ALL), [given])
    assert words in str(caught.value)


def test_the_last_of_a_name_wins_and_a_required_one_must_be_given():
    playbook = parse(with_params(["a: {type: int, required: true, description: how many}"]))
    assert parameters.values(playbook, ["a=1", "a=2"]) == {"a": 2}
    with pytest.raises(UsageError, match=r"missing parameter 'a' \(how many\): -p a=VALUE"):
        parameters.values(playbook, [])


def test_values_that_are_shown_can_be_given_again():
    playbook = parse(ALL)
    given = ["time=500ms", "share=2.5%", "size=1KiB", "on=true", "whole=-1", "number=0.25"]
    got = parameters.values(playbook, given)
    again = [f"{name}={text}" for name, text in parameters.shown(playbook, got).items()]
    assert parameters.values(playbook, again) == got


def test_a_secret_is_read_where_the_playbook_says_and_never_shown(tmp_path, monkeypatch):
    (tmp_path / "pw").write_text("from-a-file\n")
    playbook = parse(
        with_params(["a: {type: secret, from_env: MY_PW}", f"b: {{type: secret, from_file: {tmp_path}/pw}}"])
    )
    monkeypatch.setenv("MY_PW", "from-the-environment")
    got = parameters.values(playbook, [])
    assert got == {"a": "from-the-environment", "b": "from-a-file"}
    assert set(parameters.shown(playbook, got).values()) == {parameters.MASK}
    with pytest.raises(UsageError) as caught:
        parameters.values(playbook, ["a=hunter2"])
    assert "does not stand on a command line" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_secret_that_is_missing_is_null_or_an_error(tmp_path, monkeypatch):
    monkeypatch.delenv("MY_PW", raising=False)
    assert parameters.values(parse(with_params(["a: {type: secret, from_env: MY_PW}"])), []) == {"a": None}
    for line in ("{type: secret, from_env: MY_PW, required: true}", f"{{type: secret, from_file: {tmp_path}/none}}"):
        with pytest.raises(UsageError):
            parameters.values(parse(with_params([f"a: {line}"])), [])


# ── options at run time ──────────────────────────────────────────────────────────────────────────


def option(text, names, probe="stack", name="pid"):
    step = HEAD + "params: {n: {type: float}, t: {type: duration}}\n"
    step += f"steps: [{{id: s, probe: {probe}, with: {{{name}: '{text}'}}}}]"
    param = next(param for param in probes.load(probe).params if param.name == name)
    return arguments.value(parse(step).steps[0].given[name], param, names)


def test_an_option_goes_through_the_converter_that_a_typed_text_goes_through():
    window = option("${{ params.t }}", {"params": {"t": 1.5}}, name="window")
    assert (window, type(window).__name__) == (1.5, "Duration")
    assert option("${{ params.n }}", {"params": {"n": 2609.0}}) == 2609
    assert option("1s", {}, name="window") == 1.0


def test_null_is_the_default_and_what_cannot_be_a_value_is_unknown():
    assert option("${{ params.n }}", {"params": {"n": None}}) is None
    assert isinstance(option("${{ params.n }}", {"params": {"n": None}}, probe="threads"), Unknown)
    for bad in (-1, 2.5, Unknown("why")):
        assert isinstance(option("${{ params.n }}", {"params": {"n": bad}}), Unknown)


# ── types ────────────────────────────────────────────────────────────────────────────────────────


def test_fields_have_the_types_of_their_annotations():
    thread = types.of_step("threads").fields["thread"].item.fields
    assert thread["cpu"] == "number"
    assert thread["role"] == OneOf(("app", "gc", "jit", "vm", "native", "kernel"))
    assert thread["agreement"] == Record({"seen": "number", "of": "number"})
    frame = thread["frames"].item
    assert isinstance(thread["frames"], ListOf)
    assert frame.fields["origin"] == OneOf(("app", "library", "runtime"))
    assert thread["samples"].item.fields["at"] == "number"
    assert (thread["id"], thread["subject"]) == ("text", "text")


@pytest.mark.parametrize("name", probes.names())
def test_no_kind_and_no_field_hides_another_name_or_is_of_an_unknown_type(name):
    step = types.of_step(name).fields
    assert set(step) == {"status", "severity", "findings"} | {kind.kind for kind in probes.load(name).observes}
    for kind in probes.load(name).observes:
        fields = types.of_observation(kind).fields
        assert set(fields) == {"id", "subject", *kind.fields()}
        hints = typing.get_type_hints(kind)
        unknown = {field for field, known in fields.items() if known == "any"}
        assert all("Mapping" in str(hints[field]) for field in unknown)  # its keys are what was met


# ── what comes with opsdoc, and where documents are found ────────────────────────────────────────


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_playbook_is_right_and_names_the_schema_of_editors(path):
    assert path.stem in document.shipped()
    assert document.read_shipped(path.stem) == path.read_bytes()
    playbook = document.load(path.stem, lambda: b"")
    assert playbook.name == path.stem
    assert playbook.findings
    assert path.read_text().startswith("# yaml-language-server: $schema=opsdoc-playbook.schema.json\n")
    plain = parse_yaml(path.read_bytes(), path.name).plain()
    jsonschema.Draft202012Validator(schema()).validate(plain)


# ── cpu-hot ──────────────────────────────────────────────────────────────────────────────────────

RECORDINGS = Path(__file__).parents[1] / "recordings/cpu"
CAUSES = {
    "idle": (Severity.OK, "not CPU: "),
    "throttled": (Severity.CRITICAL, "a CPU quota, not the code: "),
    "jvm-full-heap": (Severity.CRITICAL, "the heap, not the code: "),
    "jvm-hot": (Severity.CRITICAL, "the code: com.acme.HotOne (pid "),
    "python-hot": (Severity.CRITICAL, "the code: hot_one.py (pid "),
    "native-function": (Severity.CRITICAL, "spin (pid "),
    "kernel-bound": (Severity.CRITICAL, "dd (pid "),
    "denied": (Severity.CRITICAL, "pid 201 java burns 1 cores, and which code it is could not be told"),
}


def cause(cpu):
    """The first outcome of `cause` that is true, when step `cpu` saw this; nothing before it is unknown."""
    playbook = document.load("cpu-hot", lambda: b"")
    names = {"params": parameters.values(playbook, []), "steps": {"cpu": cpu}}
    finding = next(one for one in playbook.findings if one.id == "cause")
    for outcome in finding.outcomes:
        holds = True if outcome.when is None else outcome.when.decide(names)
        assert not isinstance(holds, Unknown)
        if holds:
            return outcome.severity, outcome.message.render(names)
    raise AssertionError


@pytest.mark.parametrize("scenario", CAUSES)
def test_cpu_hot_names_the_cause_of_what_was_recorded(scenario):
    probe = probes.load("cpu")
    options = {param.name: param.default for param in probe.params}
    (result,) = run(probe, options, Settings(replay=RECORDINGS / scenario), Stop()).results
    severity, message = cause(scope.seen(result, probe))
    assert severity == CAUSES[scenario][0] == result.severity
    assert message.startswith(CAUSES[scenario][1])


def test_cpu_hot_looks_at_the_machine_before_the_code():
    box = {"busy": 0.95, "steal": 0.0, "forks_per_second": 1.0, "unattributed": 0.0}
    code = {"rule": "cpu.app-code", "severity": "critical", "summary": "it burns in f"}
    process = {"pid": 7, "name": "x", "cpu": 0.2}
    for changes, findings, words in (
        ({"steal": 0.4}, [code], "not this machine: "),
        ({"steal": 0.2}, [code], "the hypervisor gives 20 %"),
        ({}, [code], "the code: it burns in f"),
        ({"forks_per_second": 80.0, "unattributed": 0.7}, [], "many short-lived processes: 80 "),
        ({}, [], "the CPUs are 95 % busy; most of it has pid 7 x"),
        ({"busy": 0.1}, [], "not CPU: "),
    ):
        told = cause({"box": [{**box, **changes}], "findings": findings, "process": [process]})
        assert told[1].startswith(words)


def test_the_schema_is_one_and_refuses_what_it_can():
    jsonschema.Draft202012Validator.check_schema(schema())
    check = jsonschema.Draft202012Validator(schema())
    good = parse_yaml(SMALL.encode(), "f.yml").plain()
    assert check.is_valid(good)
    for bad in (
        {"on": 1},
        {"apiVersion": "opsdoc/v2"},
        {"steps": []},
        {"steps": [{"id": "t", "probe": "tpo"}]},
        {"steps": [{"id": "t", "probe": "threads"}]},
        {"steps": [{"id": "t", "probe": "top", "with": {"windw": "1s"}}]},
        {"steps": [{"id": "t", "probe": "top", "with": {"window": "1 second"}}]},
        {"limits": {"hot.process_cpv": "1:2"}},
        {"findings": [{"id": "a", "title": "T"}]},
        {"findings": [{"id": "a", "title": "T", "severity": "bad"}]},
    ):
        assert not check.is_valid({**good, **bad}), bad


def test_a_playbook_is_a_shipped_name_a_path_or_standard_input(tmp_path):
    (tmp_path / "mine.yml").write_text(SMALL)
    assert document.load("cpu-hot", lambda: b"").file == "cpu-hot.yml"
    assert document.load(str(tmp_path / "mine.yml"), lambda: b"").name == "small"
    assert document.load("-", SMALL.encode).file == "stdin"


def test_what_is_no_playbook_is_told(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "big.yml").open("wb") as file:
        file.truncate(10 * config.SIZE_CAP)
    for name, words in (
        ("cpu-hit", "no playbook and no file 'cpu-hit' (did you mean 'cpu-hot'?)"),
        ("zzzzzz", "opsdoc comes with cache-miss-storm, cache-stale, cpu-hot"),
        (str(tmp_path), "not a regular file"),
        (str(tmp_path / "pipe"), "a pipe is read with -"),
        (str(tmp_path / "big.yml"), "larger than 1 MiB"),
    ):
        with pytest.raises(UsageError) as caught:
            document.load(name, lambda: b"")
        assert words in str(caught.value)
