"""The read-only page in a real browser; skipped where there is none."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from control_server_lab import TOKEN, ControlLab, event
from waiting import wait_until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

EVIL = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ControlLab]:
    (tmp_path / "control").mkdir()
    with ControlLab(tmp_path / "control") as running:
        gate = {"ok": False, "gate": "securityGate", "statusCode": "corridor-blocked", "detail": EVIL}
        snapshot = {"overall": gate, "securityGate": gate, "contQaGate": {"ok": True, "statusCode": "pass"}}
        evil = {"runId": EVIL, "lane": EVIL, "runKind": "adhoc"}
        events = [
            event(1, "wave_run", "completed"),
            event(2, "wave_run", "blocked", identity={**evil, "wave": 2}),
            event(3, "gate", "evaluated", identity={**evil, "wave": 2}, data={"gateSnapshot": snapshot}),
            event(4, "agent_run", "failed", identity={**evil, "wave": 2}, data={"agentId": "A1", "exitCode": 1}),
        ]
        assert running.ask("/ingest/batches", {"events": events}).body["accepted"] == 4
        yield running


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    running = Browser(tmp_path / "profile")
    yield running
    running.close()


def test_the_page_shows_runs_gates_and_findings_as_text(lab: ControlLab, browser: Browser) -> None:
    browser.open(lab.url + "/")
    said = "document.getElementById('said')?.textContent"
    wait_until(lambda: "token is required" in (browser.evaluate(said) or ""), 20)
    browser.evaluate(f"document.getElementById('token').value = '{TOKEN}'; document.getElementById('refresh').click()")
    rows = "[...document.querySelectorAll('#runs tbody tr')].map(row => row.innerText)"
    shown = wait_until(lambda: (found := browser.evaluate(rows)) and len(found) == 2 and found, 20)
    assert "blocked" in shown[0] and EVIL in shown[0] and "securityGate" in shown[0]
    assert "completed" in shown[1]
    cards = browser.evaluate("document.getElementById('overview').innerText")
    assert "Runs blocked" in cards and "Gate securityGate" in cards
    browser.evaluate("document.querySelector('#runs tbody tr').click()")
    wait_until(lambda: not browser.evaluate("document.getElementById('detail').hidden"), 20)
    findings = browser.evaluate("document.getElementById('findings').innerText")
    assert "corridor-blocked" in findings and EVIL in findings and "contQaGate" not in findings
    assert "A1" in browser.evaluate("document.getElementById('agents').innerText")
    assert browser.evaluate("document.title") == "Wave Control"
    assert browser.evaluate("document.images.length") == 0
    if os.environ.get("PAGE_SCREENSHOT"):
        data = browser.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        Path(os.environ["PAGE_SCREENSHOT"]).write_bytes(base64.b64decode(data))


def test_the_page_asks_nobody_else_and_runs_nothing_else(lab: ControlLab, browser: Browser) -> None:
    browser.open(lab.url + "/ui")
    wait_until(lambda: browser.evaluate("document.getElementById('said')?.textContent"), 20)
    asked = [one["params"]["request"]["url"] for one in browser.events if one["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith((lab.url, "data:,")) for url in asked)
    broken = [one for one in browser.events if one["method"] == "Runtime.exceptionThrown"]
    assert broken == []
    browser.evaluate(
        "const made = document.createElement('script'); made.textContent = \"document.title='owned'\";"
        "document.body.append(made)"
    )
    assert browser.evaluate("document.title") == "Wave Control"


def test_a_narrow_window_needs_no_sideways_scrolling(lab: ControlLab, browser: Browser) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=375, height=700, deviceScaleFactor=1, mobile=True)
    browser.open(lab.url + "/")
    wait_until(lambda: browser.evaluate("document.getElementById('said')?.textContent"), 20)
    browser.evaluate(f"document.getElementById('token').value = '{TOKEN}'; document.getElementById('refresh').click()")
    wait_until(lambda: browser.evaluate("document.querySelectorAll('#runs tbody tr').length") == 2, 20)
    assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
