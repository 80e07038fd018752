"""The frozen shape of opsdoc.report/1."""

from __future__ import annotations

import io
import json

import jsonschema
import pytest
from unit import sample_report

from opsdoc.model import Unknown
from opsdoc.render import json_v1, render
from opsdoc.signals.box import Box
from opsdoc.signals.hot import Code, Process, Thread
from opsdoc.signals.peers import UpstreamGroup


def data(report, out=None):
    out = out or io.StringIO()
    render(report, "json", out)
    return json.loads(out.getvalue())


SCHEMA = json_v1.schema([Box, Process, Thread, Code, UpstreamGroup])


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator.check_schema(json_v1.schema())


@pytest.mark.parametrize("name", sample_report.ALL)
def test_every_report_keeps_the_schema(name):
    jsonschema.validate(data(sample_report.ALL[name]()), SCHEMA)
    jsonschema.validate(data(sample_report.ALL[name]()), json_v1.schema())


def test_the_schema_refuses_a_wrong_report():
    wrong = data(sample_report.critical())
    wrong["results"][0]["findings"][0]["severity"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)
    wrong = data(sample_report.critical())
    del wrong["results"][0]["observations"][0]["busy"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_the_keys_of_the_contract():
    report = data(sample_report.critical())
    assert {
        "schema", "tool", "title", "host", "started", "elapsed_seconds", "severity", "exit_code", "summary", "cost",
        "redactions", "results",
    } <= set(report)  # fmt: skip
    assert report["schema"] == "opsdoc.report/1"
    assert report["tool"] == {"name": "opsdoc", "version": "0.1.0"}
    assert (report["severity"], report["exit_code"]) == ("critical", 2)
    assert set(report["host"]) == {"hostname", "kernel", "cpus", "memory_bytes", "boot_time", "virtualization"}
    assert report["cost"]["pauses"] == [{"pid": 2609, "seconds": 0.018, "how": "HotSpot safepoint statistics"}]
    (result,) = report["results"]
    assert {
        "probe", "step", "targets", "status", "severity", "started", "elapsed_seconds", "observations", "unseen",
        "findings",
    } <= set(result)  # fmt: skip
    assert result["unseen"][0] == {
        "subject": "kernel stack of 2854",
        "reason": "denied",
        "detail": "reading it needs root",
        "hint": "sudo /opt/opsdoc/bin/opsdoc cpu",
    }
    finding = result["findings"][0]
    assert set(finding) == {
        "rule", "key", "severity", "subject", "summary", "evidence", "threshold", "confidence", "ruled_out",
        "next_step", "by_hand",
    }  # fmt: skip
    assert {"name": "hot.thread_cpu", "value": 0.98, "warn": 0.5, "crit": 0.9}.items() <= finding["threshold"].items()


def test_values_have_their_shape_and_unknowns_their_reason():
    (result,) = data(sample_report.critical())["results"]
    thread = next(o for o in result["observations"] if o["kind"] == "thread")
    assert list(thread)[:3] == ["id", "kind", "subject"]
    assert thread["frames"][0] == {
        "function": "com.acme.OrderPricer.recalculate", "file": "OrderPricer.java", "line": 88, "origin": "app",
    }  # fmt: skip
    assert thread["agreement"] == {"seen": 9, "of": 10}
    assert thread["samples"][0] == {"at": 0.1, "value": 0.97, "label": "com.acme.OrderPricer.recalculate"}
    assert thread["ns_tid"] is None
    assert thread["unknown"] == {"ns_tid": "no NSpid in this kernel"}
    process = next(o for o in result["observations"] if o["kind"] == "process" and o["container"] is None)
    assert process["unknown"] == {}


def test_records_are_objects_and_what_is_unknown_in_them_is_told_by_its_place():
    (result,) = data(sample_report.parts())["results"]
    first, *_ = result["observations"]
    assert first["servers"][1] == {
        "server": "10.3.1.8:8080", "attempts": 8098, "failed": 812, "share": 0.333, "expected_share": 0.333,
        "p50": 0.012, "p95": 0.153, "state": "failing", "now": "refused",
    }  # fmt: skip
    assert first["servers"][2]["p50"] is first["servers"][2]["p95"] is None
    assert first["unknown"]["servers[2].p50"] == "no answer was timed"
    assert "servers[2].p95" not in first["unknown"]
    assert first["statuses"] == {"200": 23_800, "502": 510}


def test_a_number_within_a_record_that_is_none_is_unknown():
    broken = sample_report.group(1, "a", (sample_report.PARTS[0]._replace(p95=float("nan")),))
    report = data(sample_report.report(sample_report.result(broken)))
    (seen,) = report["results"][0]["observations"]
    assert seen["servers"][0]["p95"] is None
    assert seen["unknown"]["servers[0].p95"] == "not a finite number"
    jsonschema.validate(report, SCHEMA)


def test_the_schema_knows_the_fields_of_records():
    wrong = data(sample_report.parts())
    wrong["results"][0]["observations"][0]["servers"][0]["attempts"] = "many"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)
    wrong = data(sample_report.parts())
    del wrong["results"][0]["observations"][0]["servers"][0]["failed"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)
    of_group = SCHEMA["$defs"]["observation"]["allOf"][-1]["then"]["properties"]
    assert of_group["servers"]["items"]["properties"]["p95"]["description"] == "in seconds"


def test_truncation_is_stated():
    (result,) = data(sample_report.critical())["results"]
    assert (result["total"]["process"], result["shown"]["process"]) == (143, 5)
    assert (result["total"]["box"], result["shown"]["box"]) == (1, 1)
    assert result["window_seconds"] == 2.0


def test_findings_stand_most_severe_first():
    backwards = sample_report.result(findings=(*sample_report.CLEARED, sample_report.RUNNABLE, sample_report.HOT))
    (result,) = data(sample_report.report(backwards))["results"]
    assert [f["severity"] for f in result["findings"]][:3] == ["critical", "warning", "ok"]


def test_a_number_that_is_none_is_unknown_and_never_zero():
    broken = sample_report.box(busy=float("nan"), user=float("inf"), system=Unknown(""))
    (result,) = data(sample_report.report(sample_report.result(broken)))["results"]
    (box,) = result["observations"]
    assert (box["busy"], box["user"], box["system"]) == (None, None, None)
    assert box["unknown"]["busy"] == box["unknown"]["user"] == "not a finite number"
    assert box["unknown"]["system"]
    jsonschema.validate(data(sample_report.report(sample_report.result(broken))), SCHEMA)


def test_small_shares_keep_their_digits_and_noise_goes():
    box = sample_report.box(busy=0.1 + 0.2, user=0.0000123456789)
    (result,) = data(sample_report.report(sample_report.result(box)))["results"]
    assert result["observations"][0]["busy"] == 0.3
    assert result["observations"][0]["user"] == 1.23457e-05


def test_any_encoding_carries_it_and_nothing_acts():
    hostile = sample_report.HOT._replace(summary="lone \udc80 bidi \u202e esc \x1b c1 \x9b line \u2028 批")
    for encoding in ("ascii", "utf-8"):
        raw = io.BytesIO()
        out = io.TextIOWrapper(raw, encoding=encoding)
        render(sample_report.report(sample_report.result(findings=(hostile,))), "json", out)
        out.flush()
        shown = raw.getvalue().decode(encoding)
        assert not set("\u202e\x1b\x9b\u2028") & set(shown)
        assert json.loads(shown)["summary"] == "lone \\udc80 bidi \u202e esc \x1b c1 \x9b line \u2028 批"
