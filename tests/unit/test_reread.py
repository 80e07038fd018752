"""A saved report read back says the same in every format; what is none, newer, cut or edited is refused by name."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from unit import sample_report

from opsdoc import reread
from opsdoc.model import Frame, Point, Share, Unknown, UsageError
from opsdoc.render import FORMATS, json_v1, render
from opsdoc.signals.box import Box

RECORDED = sorted((Path(__file__).parent.parent / "recordings").glob("*/*/expected.json"))
FREE = {"wall_seconds": 1.5, "cpu_seconds": 0.25, "max_rss_bytes": 1 << 20, "pauses": [], "target_files": []}


def rendered(report, form: str, **options) -> str:
    out = io.StringIO()
    render(report, form, out, **options)
    return out.getvalue()


def saved(report) -> dict:
    return json.loads(rendered(report, "json"))


def again(data: dict):
    return reread.read(json.dumps(data).encode())


def refused(data) -> str:
    with pytest.raises(UsageError) as caught:
        reread.read(data if isinstance(data, bytes) else json.dumps(data).encode())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", sample_report.ALL)
def test_a_report_says_the_same_when_it_is_read_back(name, form):
    report = sample_report.ALL[name]()
    for written in ("json", "html"):
        back = reread.read(rendered(report, written).encode())
        for verbose in (False, True):
            assert rendered(back, form, verbose=verbose) == rendered(report, form, verbose=verbose)


def test_the_types_come_back():
    back = reread.read(rendered(sample_report.critical(), "json").encode())
    original = sample_report.critical()
    thread = next(o for o in back.results[0].observations if o.id == "t4")
    same = next(o for o in original.results[0].observations if o.id == "t4")
    assert thread.replaced(samples=()) == same.replaced(samples=())  # whose times are 0.1 + 0.2 and the like
    assert (thread.ns_tid, thread.agreement) == (Unknown("no NSpid in this kernel"), Share(9, 10))
    assert isinstance(thread.frames[0], Frame)
    assert isinstance(thread.samples[0], Point)
    assert back.results[0].findings == original.results[0].findings
    assert back._replace(results=(), redactions={}) == original._replace(results=(), redactions={})


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_every_recorded_report_comes_back_and_renders(path):
    data = json.loads(path.read_text())
    data["cost"], data["tool"]["version"] = FREE, "0.1.0"
    back = again(data)
    assert saved(back) == data
    twice = reread.read(rendered(back, "html").encode())
    for form in FORMATS:
        assert rendered(twice, form) == rendered(back, form)


def test_what_a_newer_one_adds_is_ignored_or_kept():
    data = saved(sample_report.critical())
    data["mood"] = data["host"]["mood"] = data["results"][0]["findings"][0]["mood"] = {"a": [1]}
    (result,) = data["results"]
    result["observations"][0]["mood"] = 1
    result["observations"] += [
        {
            "id": f"n{i}", "kind": "lock_wait", "subject": f"lock {i}", "waiters": i, "held": None, "owner": "x" * 40,
            "chain": [{"function": "f", "file": None, "line": 3, "origin": "app"}], "unknown": {"held": "no right"},
            "fields": 1, "__class__": 2, "replaced": 3,
        }
        for i in (4, 5)
    ]  # fmt: skip
    result["observations"][-1]["late"] = True
    result["unseen"][0]["reason"] = "asleep"
    back = again(data)
    lock = back.results[0].observations[-2]
    assert (lock.kind, lock.waiters, lock.held) == ("lock_wait", 4, Unknown("no right"))
    assert isinstance(lock.late, Unknown)
    assert lock.chain == (Frame("f", None, 3),)
    assert set(lock.fields()) == {"waiters", "held", "owner", "chain", "late"}
    for form in FORMATS:
        page = rendered(back, form, verbose=True, width=200)
        if form != "nagios":
            assert "lock 4" in page
            assert "lock 5" in page
    written = saved(back)
    assert "mood" not in json.dumps(written)
    assert saved(again(written)) == written


def test_records_come_back_as_mappings_with_the_units_of_their_kind():
    back = reread.read(rendered(sample_report.parts(), "json").encode())
    first = back.results[0].observations[0]
    assert first.servers[1]["failed"] == 812
    assert first.servers[2]["p50"] == Unknown("no answer was timed")
    assert first.servers[2]["p95"] is None
    assert first.fields()["servers"].columns["p95"] == "seconds"


def test_records_of_a_kind_that_is_not_known_are_plain():
    data = saved(sample_report.parts())
    (result,) = data["results"]
    result["total"] = result["shown"] = {"pool": 4}
    for observation in result["observations"]:
        observation["kind"] = "pool"
    back = again(data)
    assert saved(back) == data
    shown = rendered(back, "text", verbose=True, width=140)
    assert re.search(r"10\.3\.1\.8:8080 +8,098 +812 +0\.33 +0\.33 +0\.01 +0\.15 +failing +refused", shown)
    assert "attempts by server, pool order-service (in ink: failed)" in rendered(back, "html")


def test_a_record_that_begins_like_a_share_or_a_point_stays_whole():
    data = saved(sample_report.parts())
    first, *_ = data["results"][0]["observations"]
    first["servers"] = [{"seen": 1, "of": 2, "who": "a"}, {"at": 1.0, "value": 2.0, "label": "x", "who": None}]
    first["unknown"] = {}
    first["error_share"] = first["lost"] = first["masked_share"] = first["usable"] = None
    assert saved(again(data)) == data


@pytest.mark.parametrize("wrong", [[{}], [{"a": None}], [{}, 1], [[{"a": {"b": [{"c": 1}]}}]], [{"a": 1}, {"b": "x"}]])
def test_records_of_any_shape_are_rendered(wrong):
    data = saved(sample_report.parts())
    data["results"][0]["observations"][0]["servers"] = wrong
    back = again(data)
    assert saved(back)["results"][0]["observations"][0]["servers"] == wrong
    for form in FORMATS:
        rendered(back, form, verbose=True)


def test_a_reason_for_what_stands_in_a_record_must_be_text():
    data = saved(sample_report.parts())
    data["results"][0]["observations"][0]["unknown"]["servers[2].p50"] = 3
    assert "is not text" in refused(data)


def test_a_field_that_an_older_one_did_not_have_is_unknown():
    data = saved(sample_report.critical())
    del data["results"][0]["observations"][0]["steal"]
    box = again(data).results[0].observations[0]
    assert isinstance(box, Box)
    assert isinstance(box.steal, Unknown)
    for name in ("total", "shown", "window_seconds"):
        del data["results"][0][name]
    del data["interrupted"]
    del data["cost"]["target_files"]
    assert again(data).severity.word == "critical"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the report is empty"),
        (b"\xff\xfe\x00", "it is neither JSON nor HTML"),
        (b"# Markdown", "it is neither JSON nor HTML"),
        (b"[]", "its schema is not opsdoc.report/1"),
        (b"null", "its schema is not opsdoc.report/1"),
        (b"{}", "its schema is not opsdoc.report/1"),
        (b'{"schema": "opsdoc.report/x"}', "its schema is not opsdoc.report/1"),
        (b'{"schema": "opsdoc.report/1", "title": "', "not whole JSON: Unterminated string"),
        (b'{"schema": "opsdoc.report/1", "x": NaN}', "NaN is no number"),
        (b'{"schema": "opsdoc.report/1"}', "not a whole report: the report has no"),
        (b"[" * 100_000, "nested too deeply"),
        (b"<!DOCTYPE html><p>x", "a page without its JSON"),
        (
            b'{"schema": "opsdoc.report/2", "tool": {"version": "7.1"}}',
            "schema opsdoc.report/2, and this opsdoc reads opsdoc.report/1: it takes a newer opsdoc (7.1 wrote it)",
        ),
    ],
)
def test_what_is_no_report_is_refused(data, words):
    assert words in refused(data)


def test_a_page_that_was_too_large_for_its_json_says_so():
    page = rendered(sample_report.critical(), "html")
    page = re.sub(r"<script.*?</script>", "", page)
    assert "this page carries no JSON" in refused(page.encode())


def _everywhere(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _everywhere(item, (*path, key))


def test_whatever_has_the_wrong_type_ends_in_a_usage_error_or_in_a_report_that_renders():
    original = rendered(sample_report.critical(), "json")
    for path in list(_everywhere(json.loads(original)))[1::3]:
        for wrong in (None, -1, "x", [], {}, True, 10**400):
            data = json.loads(original)
            place = data
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = wrong
            text = re.sub(r"\b10{400}\b", "1" + "0" * 400, json.dumps(data))
            try:
                back = reread.read(text.encode())
            except UsageError as error:
                assert "\n" not in str(error)  # noqa: PT017
                continue
            for form in ("json", "text", "nagios", "md"):
                rendered(back, form)


def test_a_verdict_that_the_findings_do_not_bear_is_refused():
    data = saved(sample_report.critical())
    data["results"][0]["findings"] = data["results"][0]["findings"][1:]
    assert "changed after it was written: it says critical, but its findings come to warning" in refused(data)


def test_the_place_of_what_is_wrong_is_told():
    data = saved(sample_report.critical())
    data["results"][0]["findings"][1]["severity"] = "bad"
    assert "the report.results[0].findings[1].severity is not one of ok, warning" in refused(data)
    del data["results"][0]["findings"][1]["severity"]
    assert "the report.results[0].findings[1] has no 'severity'" in refused(data)


def test_many_threads_are_read_quickly_and_a_page_carries_the_first_of_them():
    many = [sample_report.thread(i, f"worker-{i}", 0.01, frames=sample_report.FRAMES) for i in range(10_000)]
    found = sample_report.HOT._replace(evidence=("t9999",))
    report = sample_report.report(sample_report.result(*many, findings=(found,), totals={}))
    page = rendered(report, "html")
    assert len(page.encode()) < 5_000_000
    assert "Its lists are cut" in page
    back = reread.read(page.encode())
    (result,) = back.results
    assert (len(result.observations), result.totals["thread"]) == (201, 10_000)
    assert result.observations[-1].id == "t9999"
    assert "50 of 10,000 threads" in rendered(back, "text", verbose=True)
    for form in ("md", "html"):
        assert re.search(r"showing \d+ of the 201 in the JSON, of 10,000 in all", rendered(back, form))
    assert saved(reread.read(rendered(report, "json").encode())) == json_v1.as_dict(report)
