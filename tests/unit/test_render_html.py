"""The page: complete without script, style or network, and never larger than a browser can bear."""

from __future__ import annotations

import html
import io
import json
import re
from html.parser import HTMLParser

import pytest
from unit import sample_report

from opsdoc.model import Frame, Report, Unknown, Unseen
from opsdoc.render import json_v1, render


def page_of(report: Report) -> str:
    out = io.StringIO()
    render(report, "html", out)
    return out.getvalue()


class Elements(HTMLParser):
    """What a browser would make of the page, as far as these tests ask."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.data = ""
        self._script = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._script = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        if self._script:
            self.data = data
        else:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.mark.parametrize("name", sample_report.ALL)
def test_the_page_is_locked_down(name):
    elements = Elements(page_of(sample_report.ALL[name]()))
    policy = next(m["content"] for m in elements.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert [s["type"] for s in elements.of("script")] == ["application/json"]
    assert not [tag for tag, _ in elements.tags if tag in ("link", "img", "iframe", "object", "embed", "base", "form")]
    for _, attrs in elements.tags:
        assert not [key for key in attrs if key.startswith("on")]
        assert (attrs.get("href") or "#").startswith("#")
        assert "src" not in attrs


@pytest.mark.parametrize("name", sample_report.ALL)
def test_anchors_are_unique_and_every_link_has_one(name):
    elements = Elements(page_of(sample_report.ALL[name]()))
    ids = [attrs["id"] for _, attrs in elements.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in elements.of("a")} <= {f"#{name}" for name in ids}


def test_anchors_are_the_rules():
    page = page_of(sample_report.critical())
    assert 'id="cpu.app-code"' in page
    assert 'id="cpu.gc"' in page
    twice = sample_report.result(findings=(sample_report.HOT, sample_report.HOT))
    assert 'id="cpu.app-code-2"' in page_of(sample_report.report(twice))


def test_the_order_of_the_page():
    headings = re.findall(r"<h2>(.*?)</h2>", page_of(sample_report.critical()))
    assert headings == [
        "What could not be seen",
        "Findings",
        "Ruled out, or in order",
        "The whole picture",
        "Timeline",
        "What the look has cost",
        "Environment",
        "The data",
    ]


def test_the_json_inside_is_the_report():
    report = sample_report.critical()
    assert json.loads(Elements(page_of(report)).data) == json_v1.as_dict(report)


def test_the_json_inside_cannot_break_out():
    hostile = sample_report.HOT._replace(summary="</script><img src=x onerror=alert(1)>\u2028<!--<script>")
    report = sample_report.report(sample_report.result(findings=(hostile,)))
    elements = Elements(page_of(report))
    assert json.loads(elements.data)["summary"] == hostile.summary
    assert not elements.of("img")
    assert "<" not in elements.data


def test_pictures_have_a_title_a_description_and_a_table():
    page = page_of(sample_report.critical())
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 3
    for picture in pictures:
        assert re.search(
            r'aria-labelledby="(\S+) (\S+)">\s*<title id="\1">.+?</title>\s*<desc id="\2">.+?</desc>', picture
        )
    assert "CPU by process" in page
    assert "CPU by thread" in page
    strip = next(picture for picture in pictures if "polyline" in picture)
    assert (strip.count('class="agrees"'), strip.count('class="differs"')) == (9, 1)
    assert "filled: 9 of 10 stacks in com.acme.OrderPricer.recalculate; hollow: elsewhere" in page


def picture_of(page: str, title: str) -> str:
    return next(svg for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL) if f">{title}" in svg)


def test_records_are_bars_with_their_bad_part_their_words_and_their_table():
    page = html.unescape(page_of(sample_report.parts()))
    picture = picture_of(page, "attempts by server, upstream group order-service")
    assert "3 bars, the longest is 10.3.1.7:8080, 8,120 attempts, most of all in 10.3.1.8:8080, 812 failed" in picture
    bars = re.findall(r'<rect class="(\w+)".*? width="([\d.]+)"', picture)
    assert bars == [("bar", "310.0"), ("bad", "1.0"), ("bar", "309.2"), ("bad", "31.0"), ("bar", "308.9")]
    assert ">8,098 attempts · 812 failed<" in picture
    assert ">share 33 % · expected share 33 % · p50 12 ms · p95 153 ms · state failing · now refused<" in picture
    _, _, beneath = page.partition(picture)
    assert "(in ink: failed)</figcaption>" in beneath[:200]
    table = re.sub(r"<[^>]+>", "|", beneath[: beneath.index("</table>")])
    assert re.search(r"10\.3\.1\.8:8080\|+8,098\|+812\|+33 %\|+33 %\|+12 ms\|+153 ms\|+failing\|+refused", table)
    assert "p50 unknown: no answer was timed" in beneath
    assert page.count("attempts by server, upstream group order-service (in ink") == 1


def test_where_not_all_records_are_drawn_the_worst_are_and_the_rest_is_counted():
    page = html.unescape(page_of(sample_report.parts()))
    picture = picture_of(page, "attempts by server, upstream group search")
    labels = re.findall(r'<text x="0" y="\d+">(.*?)</text>', picture)
    assert labels == [f"10.3.2.{n}:80" for n in (3, *range(5, 16))]
    assert "(in ink: failed); and 4 more (full list in the JSON)</figcaption>" in page
    assert "10.3.2.0:80" in page.partition(picture)[2].partition("</table>")[0]


def test_one_record_is_a_table_and_none_is_nothing():
    page = html.unescape(page_of(sample_report.parts()))
    assert "<summary>Servers of upstream group pay</summary>" in page
    assert "unix:/run/支付.sock" in page
    assert "upstream group pay</title>" not in page
    assert "Servers of upstream group static" not in page


def test_records_without_a_number_to_draw_are_a_table():
    unknown = tuple(part._replace(attempts=Unknown("no log"), failed=0) for part in sample_report.PARTS)
    bare = tuple(part._replace(share=None, expected_share=None, p50=None, p95=None) for part in unknown)
    page = page_of(sample_report.report(sample_report.result(sample_report.group(1, "a", bare))))
    assert "<svg" not in page
    assert "attempts unknown: no log" in page


def test_words_after_a_bar_are_not_painted_over_by_their_halo():
    for page in map(page_of, (sample_report.critical(), sample_report.steps(), sample_report.parts())):
        values = re.findall(r'<text[^>]* class="value[^>]*>', page)
        assert values
        assert all('paint-order="stroke"' in value for value in values)


def test_a_gap_in_the_samples_is_a_gap_in_the_line():
    gappy = sample_report.thread(4, "w", 0.9, samples=sample_report.samples([1.0, 1.0, None, 1.0, 0.9]))
    page = page_of(sample_report.report(sample_report.result(gappy)))
    assert page.count("<polyline") == 2
    assert 'class="missing"' in page


def test_all_of_a_command_line_stands_in_the_page():
    assert sample_report.COMMAND in html.unescape(page_of(sample_report.critical()).partition("<script")[0])


def test_the_usual_page_is_small():
    assert len(page_of(sample_report.critical()).encode()) < 100_000


def test_long_tables_are_cut_and_say_so():
    many = [sample_report.process(i, f"worker {i}", 0.01) for i in range(3214)]
    page = page_of(sample_report.report(sample_report.result(*many)))
    assert "showing 50 of 3,214 (full list in the JSON)" in page
    assert len(page.encode()) < 5_000_000


def test_a_monstrous_report_stays_under_the_cap_and_says_so():
    deep = tuple(Frame(f"recurse{'x' * 200}", "a.py", i) for i in range(1000))
    hot = [sample_report.thread(i, "n" * 20_000, 1.0, frames=deep) for i in range(60)]
    found = [
        sample_report.HOT._replace(key=f"k{i}", evidence=tuple(t.id for t in hot[:20]), summary="s" * 5000)
        for i in range(200)
    ]
    blind = tuple(Unseen(subject=f"s{i}", reason="denied", detail=f"d{i}" * 500) for i in range(1000))
    page = page_of(sample_report.report(sample_report.result(*hot, findings=tuple(found), unseen=blind)))
    assert len(page.encode()) < 5_000_000
    assert "too large to be carried in the page" in page
    assert "cut from 5,000 characters" in page
    assert "more frames (full list in the JSON)" in page


def test_an_old_encoding_gets_references():
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    render(sample_report.critical(), "html", out)
    out.flush()
    assert "批量导入" in html.unescape(raw.getvalue().decode("ascii"))


def test_steps_of_a_playbook_have_a_timeline():
    steps = [
        sample_report.result(probe="cpu", step=name, started=f"2026-11-03T14:02:{second}.5+08:00", elapsed=1.5)
        for name, second in (("first", 11), ("second", 13))
    ]
    page = page_of(sample_report.report(*steps, elapsed=4.0))
    assert "Timeline of the steps" in page
    assert re.search(r"<th scope=\"row\">second</th>.*2\.3 s", page)
