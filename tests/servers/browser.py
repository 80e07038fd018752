"""A real browser, asked over a pipe what a page did: its errors, its requests, its text and its picture."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from servers.programs import lacking

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """The path of a browser."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Page:
    """What came of showing a page."""

    text: str = ""
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    width: int = 0  # of the content, in CSS pixels; wider than the window means sideways scrolling
    screenshot: bytes = b""


class Browser:
    """A headless Chromium for one test session; `show` opens one page."""

    def __init__(self) -> None:
        path = find()
        if path is None:
            lacking("no browser (apt-get install chromium)")
        self._profile = tempfile.mkdtemp(prefix="opsdoc-browser-")
        to_it, self._write = os.pipe()
        self._read, from_it = os.pipe()
        flags = [
            "--headless",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            f"--user-data-dir={self._profile}",
        ]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")

        # The browser reads commands from descriptor 3 and answers on 4. Both ends are moved out of the way first.
        script = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", script, "browser", str(to_it), str(from_it), path, *flags],
            pass_fds=(to_it, from_it),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": self._profile},
        )
        os.close(to_it)
        os.close(from_it)
        self._buffer = b""
        self._number = 0

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(self._read, 1 << 20) if ready else b""
            if not chunk:
                pytest.fail("the browser did not answer", pytrace=False)
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _ask(self, method: str, page: Page | None = None, session: str | None = None, **params: object) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 30
        while True:
            answer = self._receive(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    pytest.fail(f"{method}: {answer['error']}", pytrace=False)
                return answer["result"]
            self._note(answer, page)

    def _note(self, event: dict[str, Any], page: Page | None) -> None:
        if page is None:
            return
        params = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                page.requests.append(params["request"]["url"])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                page.errors.append(params["entry"]["text"])
            case "Runtime.exceptionThrown":
                page.errors.append(str(params["exceptionDetails"].get("text")))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                page.errors.append(str(params["args"]))
            case "Page.javascriptDialogOpening":
                page.dialogs.append(params["message"])
                message = {"id": 0, "sessionId": event["sessionId"], "method": "Page.handleJavaScriptDialog"}
                os.write(self._write, json.dumps({**message, "params": {"accept": False}}).encode() + b"\0")

    def show(
        self, html: Path, *, width: int = 1100, height: int = 900, dark: bool = False, javascript: bool = True
    ) -> Page:
        """Open a file and return what it did; its own address is not counted among the requests."""
        page = Page()
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

        def ask(method: str, **params: object) -> Any:
            return self._ask(method, page, session, **params)

        for domain in ("Page", "Network", "Log", "Runtime"):
            ask(f"{domain}.enable")
        ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        ask("Emulation.setEmulatedMedia", features=[scheme])
        ask("Emulation.setScriptExecutionDisabled", value=not javascript)
        address = html.resolve().as_uri()
        ask("Page.navigate", url=address)
        end = time.monotonic() + 30
        while ask("Runtime.evaluate", expression="document.readyState + location.href")["result"]["value"] != (
            "complete" + address
        ):
            if time.monotonic() > end:
                pytest.fail(f"the browser did not finish {html}", pytrace=False)
        whole = ask("Page.getLayoutMetrics")["cssContentSize"]
        page.width = round(whole["width"])
        page.text = ask("Runtime.evaluate", expression="document.body.innerText")["result"]["value"]
        clip = {"x": 0, "y": 0, "width": width, "height": min(whole["height"], 8000), "scale": 1}
        picture = ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        page.screenshot = base64.b64decode(picture["data"])
        page.requests = [url for url in page.requests if url.partition("#")[0] != address]
        self._ask("Target.closeTarget", page, targetId=target)
        return page

    def close(self) -> None:
        """End it, with all its processes."""
        os.close(self._write)
        os.close(self._read)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(3)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)
