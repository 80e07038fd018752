"""The HTML report in a real browser: everything is there without script, nothing is loaded, nothing runs."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import html
import io
import json
import os
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from unit import sample_report

from opsdoc.model import Report
from opsdoc.render import render
from opsdoc.render.words import visible

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)

if CHROMIUM is None and os.environ.get("CI") == "true":
    pytest.fail("no chromium: apt-get install -y chromium", pytrace=False)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install -y chromium")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
    "--window-size=1280,2400",
)


class Browser:
    """Chromium, asked over its debugging pipe: it tells each request of a page and each line of its console."""

    def __init__(self, profile: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        # Chromium reads descriptor 3 and writes 4; the ends may have those very numbers, so they move up first.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands, answers)]

        def into_place() -> None:
            os.setsid()
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self._process = subprocess.Popen(
            [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=into_place,
        )
        for end in (commands, answers, *ends):
            os.close(end)
        self._number = 0
        self._pending = b""
        self.events: list[dict[str, Any]] = []

    def close(self) -> None:
        for end in (self._commands, self._answers):
            os.close(end)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=30)

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + 60
        while True:
            answer = self._next(until)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method: str) -> None:
        until = time.monotonic() + 60
        while all(event.get("method") != method for event in self.events):
            self.events.append(self._next(until))

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._pending:
            ready, _, _ = select.select([self._answers], [], [], max(0, until - time.monotonic()))
            assert ready, "chromium does not answer"
            got = os.read(self._answers, 1 << 20)
            assert got, "chromium has gone"
            self._pending += got
        message, _, self._pending = self._pending.partition(b"\0")
        return json.loads(message)


class Visit:
    """A page as the browser shows it."""

    def __init__(self, browser: Browser, page: Path, *, script: bool) -> None:
        self._browser = browser
        browser.events.clear()
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{domain}.enable")
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)
        self.ask("Page.navigate", url=page.as_uri())
        browser.wait_for("Page.loadEventFired")
        time.sleep(0.3)  # what would be loaded late, or redirected
        root = self.ask("DOM.getDocument", depth=0)["root"]["nodeId"]
        self.dom: str = self.ask("DOM.getOuterHTML", nodeId=root)["outerHTML"]
        self.text = text_of(self.dom)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.ask(method, self._session, **params)

    @property
    def requests(self) -> list[str]:
        sent = [e["params"]["request"]["url"] for e in self._events("Network.requestWillBeSent")]
        return [url for url in sent if not url.startswith("file:")]

    @property
    def console(self) -> list[Any]:
        methods = (
            "Log.entryAdded",
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Page.javascriptDialogOpening",
        )
        return [event["params"] for method in methods for event in self._events(method)]

    @property
    def navigations(self) -> list[str]:
        return [e["params"]["frame"]["url"] for e in self._events("Page.frameNavigated")]

    def _events(self, method: str) -> list[dict[str, Any]]:
        return [e for e in self._browser.events if e.get("method") == method]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


def visit(browser: Browser, report: Report, folder: Path, *, script: bool = False) -> Visit:
    page = folder / "report.html"
    with page.open("w", encoding="utf-8") as out:
        render(report, "html", out)
    return Visit(browser, page, script=script)


def text_of(dom: str) -> str:
    shown = re.sub(r"<(script|style)\b.*?</\1>", "", dom, flags=re.DOTALL)
    return _even(html.unescape(re.sub(r"<[^>]*>", "", shown)))


def _even(text: str) -> str:
    return re.sub(r"\s+", "", text)


def hostile() -> Report:
    """A critical report in which everything that comes from the patient attacks."""
    at = "http://attacker.invalid"
    attacks = [
        "</script><script>document.title='owned';console.log('owned');alert(1)</script>",
        f"<img src={at}/img onerror=\"document.title='owned'\">",
        f'"><svg onload="document.title=\'owned\'"><image href={at}/svg />',
        f"</title></style><style>@import url({at}/css);body{{display:none}}</style>",
        f"<iframe src={at}/frame></iframe><link rel=stylesheet href={at}/link><base href={at}>",
        "<!-- ]]> </textarea></details></table></section>",
        f"<meta http-equiv=refresh content='0;url={at}/refresh'>",
        "{{ 7*7 }} \x1b[31m \u202e bidi lone \udc80 nul \x00 批量",
    ]
    threads = [sample_report.thread(i, attack, 1.0, subject=attack) for i, attack in enumerate(attacks)]
    labelled = threads[0].replaced(samples=sample_report.samples([1.0, 0.9, 1.0], attacks[1]))
    finding = sample_report.HOT._replace(
        summary=" ".join(attacks), subject=attacks[2], evidence=("t0", "t1"), by_hand=tuple(attacks)
    )
    found = sample_report.result(labelled, *threads[1:], *sample_report.processes(), findings=(finding,))
    return sample_report.report(found, title=attacks[0])


@pytest.mark.parametrize("script", [True, False])
def test_hostile_names_are_shown_and_do_nothing(browser, tmp_path, script):
    report = hostile()
    page = visit(browser, report, tmp_path, script=script)
    assert page.console == []
    assert page.requests == []
    assert [url for url in page.navigations if not url.startswith(("file:", "about:blank"))] == []
    assert "<title>owned" not in page.dom
    (result,) = report.results
    for observation in result.observations:
        assert _even(visible(observation.subject)) in page.text
    for command in result.findings[0].by_hand:
        assert _even(visible(command)) in page.text
    assert not set(re.findall(r"<([a-z]+)", page.dom)) & {"img", "iframe", "link", "base", "image", "textarea"}
    data = re.search(r'<script type="application/json" id="opsdoc-result">(.*?)</script>', page.dom, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["summary"].startswith("</script>")


@pytest.mark.parametrize("name", sample_report.ALL)
def test_every_page_is_whole_without_script(browser, tmp_path, name):
    report = sample_report.ALL[name]()
    page = visit(browser, report, tmp_path)
    assert page.console == []
    assert page.requests == []
    for result in report.results:
        for said in [f.summary for f in result.findings] + [o.subject for o in result.observations]:
            assert _even(said) in page.text
        for unseen in result.unseen[:6]:
            assert _even(unseen.subject) in page.text
    out = io.StringIO()
    render(report, "html", out)
    assert page.text == text_of(out.getvalue())  # the browser found nothing to repair


def test_the_page_fits_its_window(browser, tmp_path):
    page = visit(browser, sample_report.critical(), tmp_path)
    for width in (1280, 768, 400):
        page.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        size = page.ask("Page.getLayoutMetrics")["cssContentSize"]
        assert size["width"] <= width
    picture = base64.b64decode(page.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"])
    assert len(picture) > 30_000


def test_paper_holds_what_is_folded_on_the_screen(browser, tmp_path):
    page = visit(browser, sample_report.critical(), tmp_path)
    on_screen = _heights(page, "details:not([open])")
    page.ask("Emulation.setEmulatedMedia", media="print")
    on_paper = _heights(page, "details:not([open])")
    assert on_screen
    assert all(paper > screen + 10 for screen, paper in zip(on_screen, on_paper, strict=True))


def _heights(page: Visit, selector: str) -> list[float]:
    root = page.ask("DOM.getDocument", depth=0)["root"]["nodeId"]
    nodes = page.ask("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"]
    return [page.ask("DOM.getBoxModel", nodeId=node)["model"]["height"] for node in nodes]
