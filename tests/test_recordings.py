"""Every recorded scenario is judged again, and comes to the report that was accepted: `make accept` rewrites it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from opsdoc import probes
from opsdoc.recording import ReplayHost

HERE = Path(__file__).parent / "recordings"
sys.path.append(str(HERE))
from neutral import HOSTNAME, neutral, tells  # noqa: E402

SCENARIOS = sorted(path.parent for path in HERE.glob("*/*/recording.json"))
SIZE_CAP = 300_000  # bytes of one scenario: a repository is cloned by everybody


def name_of(scenario: Path) -> str:
    return str(scenario.relative_to(HERE))


def comparable(report: dict) -> dict:
    """What a replay must repeat: everything but what the replay itself took, and with which version."""
    kept = {name: value for name, value in report.items() if name != "cost"}
    return {**kept, "tool": {name: value for name, value in report["tool"].items() if name != "version"}}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_a_recording_comes_to_the_expected_report(opsdoc, scenario, accept):
    options = scenario / "options.json"
    words = json.loads(options.read_text()) if options.exists() else []
    run = opsdoc.json(*scenario.parent.name.split("."), "--replay", scenario, *words)
    got = comparable(run.report)
    expected = scenario / "expected.json"
    if accept:
        expected.write_text(json.dumps(got, indent=1, ensure_ascii=False) + "\n")
        return
    if not expected.exists():
        pytest.fail(f"{name_of(scenario)} has no expected.json: run make accept and read the diff", pytrace=False)
    assert got == json.loads(expected.read_text())


@pytest.mark.parametrize("probe", probes.names())
def test_a_probe_yields_what_it_says_that_it_observes(probe):
    seen = set()
    for scenario in SCENARIOS:
        if scenario.parent.name == probe:
            (result,) = json.loads((scenario / "expected.json").read_text())["results"]
            seen |= {observation["kind"] for observation in result["observations"]}
    assert seen == {kind.kind for kind in probes.load(probe).observes}


def test_every_probe_has_several_scenarios_and_no_folder_is_forgotten():
    recorded = {scenario.parent.name for scenario in SCENARIOS}
    assert recorded == set(probes.names())
    folders = {path for path in HERE.glob("*/*") if path.is_dir() and "__pycache__" not in path.parts}
    assert folders == set(SCENARIOS)


@pytest.mark.parametrize("probe", probes.names())
def test_every_probe_is_seen_healthy_and_with_a_fault(probe):
    verdicts = {}
    for scenario in SCENARIOS:
        expected = scenario / "expected.json"
        if scenario.parent.name == probe and expected.exists():
            report = json.loads(expected.read_text())
            verdicts[scenario.name] = (report["severity"], bool(report["results"][0]["unseen"]))
    assert ("ok", False) in verdicts.values(), verdicts
    assert any(unseen for _, unseen in verdicts.values()), verdicts
    if probe not in ("stack", "doctor"):  # a stack is neither good nor bad, and doctor knows no sickness
        assert any(severity in ("warning", "critical") for severity, _ in verdicts.values()), verdicts


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_a_recording_is_small_and_tells_nothing_of_where_it_was_made(scenario):
    parts = [path for path in scenario.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in parts if path.name != "expected.json") < SIZE_CAP
    for path in parts:
        assert tells(path.read_bytes().decode("latin-1")) == [], path
    machines = json.loads((scenario / "recording.json").read_text())["answers"]["proc.machine"]
    assert {machine["answer"]["hostname"] for machine in machines} == {HOSTNAME}
    ReplayHost(scenario)


def test_an_unknown_scenario_is_named_when_its_expectation_is_missing(pytester_folder, opsdoc):
    scenario = pytester_folder / "top" / "idle"
    with pytest.raises(pytest.fail.Exception, match=r"has no expected.json: run make accept"):
        test_a_recording_comes_to_the_expected_report(opsdoc, scenario, accept=False)
    test_a_recording_comes_to_the_expected_report(opsdoc, scenario, accept=True)
    assert "cost" not in json.loads((scenario / "expected.json").read_text())
    test_a_recording_comes_to_the_expected_report(opsdoc, scenario, accept=False)
    options = scenario / "options.json"
    options.write_text('["--limit", "box.busy=0:0"]')
    with pytest.raises(AssertionError):
        test_a_recording_comes_to_the_expected_report(opsdoc, scenario, accept=False)


@pytest.fixture
def pytester_folder(tmp_path, monkeypatch):
    """A copy of one scenario without its expectation."""
    folder = tmp_path / "recordings"
    scenario = folder / "top" / "idle"
    (scenario / "blobs").mkdir(parents=True)
    source = HERE / "top" / "idle"
    for part in (source / "recording.json", *(source / "blobs").iterdir()):
        (scenario / part.relative_to(source)).write_bytes(part.read_bytes())
    monkeypatch.setattr(sys.modules[__name__], "HERE", folder)
    return folder


def test_paths_of_a_machine_become_neutral_as_a_whole():
    known = {"/root/checkout": "/srv/checkout", "/root": "/home/ops"}
    text = 'sudo /root/checkout/bin/x "/root/a" /rootfs /proc/1/root/tmp /root'
    assert neutral(text, known) == 'sudo /srv/checkout/bin/x "/home/ops/a" /rootfs /proc/1/root/tmp /home/ops'
    here = f"read {Path(__file__)} and /x/opsdoc-tests/classes-0a1b/y"
    assert tells(here)
    assert neutral(here) == "read /srv/checkout/tests/test_recordings.py and /srv/shop/classes/y"
    assert tells(neutral(here)) == []
