"""One workload: verdict, story, measurements, log, connections."""

import re
import sys

import pytest
from playwright.sync_api import expect

from tests.browsers import Visitor, assert_accessible, assert_fits
from tests.orchestrators import OrchestratorProcess

TALK = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done"

TOOL = """
import http.server
PAGE = b'''<!doctype html><title>Tool</title><h1>A tool</h1><script>
fetch("HOME/api/v1/workloads", {credentials: "include"})
  .then(r => r.text())
  .then(t => document.title = "stolen " + t.length, e => document.title = "kept apart");
</script>'''
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        cookies = self.headers.get("Cookie", "none")
        self.wfile.write(PAGE + f"<p id=cookies>{cookies}</p>".encode())
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
"""

PORT = 18_731

FLOOD = """
import sys, time
line = "x" * 99 + chr(10)
for _ in range(1100):
    sys.stdout.write(line * 10000)
print("the end", flush=True)
time.sleep(600)
"""

FRAME_TIME = """async () => {
  const before = performance.now();
  await new Promise(requestAnimationFrame);
  return performance.now() - before;
}"""
"""How long the page takes to draw once more, in milliseconds."""


@pytest.fixture(scope="module")
def running(server: OrchestratorProcess) -> str:
    uid = server.submit("talker", ["sh", "-c", TALK], compute={"gpuDevicesRequest": 1, "cpuCoreRequest": 0.5})
    server.wait(uid, frozenset({"Running"}))
    return uid


def test_the_verdict_comes_first_with_what_would_start_it(visitor: Visitor, server: OrchestratorProcess) -> None:
    uid = server.submit("giant", ["sleep", "600"], compute={"gpuDevicesRequest": 64})
    server.wait(uid, frozenset({"Pending"}))
    page = visitor.go(f"/workloads/{uid}")

    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("Why it waits")
    expect(verdict).to_contain_text("64 GPUs")
    expect(verdict).to_contain_text("What would start it")
    assert_accessible(page)
    assert_fits(page)


def test_the_story_is_filtered_and_searched(visitor: Visitor, running: str) -> None:
    page = visitor.go(f"/workloads/{running}")
    expect(page.get_by_role("region", name="Event history").last).to_contain_text("Running")
    assert_fits(page)
    page.get_by_label("Show", exact=True).select_option("phases")
    page.get_by_label("Search in events").fill("initializing")
    page.get_by_role("button", name="Filter").click()

    assert page.locator("tbody tr").count() == 1
    assert_accessible(page)


def test_the_log_is_followed_and_downloaded(visitor: Visitor, running: str) -> None:
    page = visitor.go(f"/workloads/{running}?tab=logs")
    log = page.locator("#log")
    expect(log).to_contain_text("line 1")
    seen = int(re.findall(r"line (\d+)", log.inner_text())[-1])
    expect(log).to_contain_text(f"line {seen + 5}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).click()

    assert re.fullmatch(
        r"talker_talker-1-0_main_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.log", download.value.suggested_filename
    )
    assert download.value.path().read_text().startswith("line 1\nline 2\n")
    assert_accessible(page)
    assert_fits(page)


def test_a_log_of_a_gigabyte_does_not_hang_the_browser(visitor: Visitor, server: OrchestratorProcess) -> None:
    uid = server.submit("flood", [sys.executable, "-c", FLOOD])
    server.wait(uid, frozenset({"Running"}))
    page = visitor.go(f"/workloads/{uid}?tab=logs")

    expect(page.locator("#log")).to_contain_text("the end", timeout=90_000)
    assert page.evaluate("document.getElementById('log').textContent.length") <= 500_000
    assert page.evaluate(FRAME_TIME) < 2000
    server.client.delete(f"/api/v1/workloads/{uid}")


def test_measurements_are_drawn(visitor: Visitor, running: str) -> None:
    page = visitor.go(f"/workloads/{running}?tab=metrics&range=quarter")

    expect(page.locator("figure[data-metric=CPU_USAGE_CORES] canvas")).to_be_visible(timeout=30_000)
    expect(page.locator("figure[data-metric=GPU_UTILIZATION] figcaption")).to_contain_text(re.compile("Nobody|Newest"))
    assert_accessible(page)
    assert_fits(page)


@pytest.mark.parametrize("tab", ["pods", "copy"])
def test_the_other_tabs(visitor: Visitor, running: str, tab: str) -> None:
    page = visitor.go(f"/workloads/{running}?tab={tab}")

    expect(page.locator("main")).to_contain_text({"pods": "talker-1-0", "copy": "curl -X POST"}[tab])
    assert_accessible(page)
    assert_fits(page)


def test_a_tool_opens_and_cannot_act_in_our_name(visitor: Visitor, server: OrchestratorProcess) -> None:
    code = TOOL.replace("HOME", visitor.base).replace("PORT", str(PORT))
    uid = server.submit(
        "lab",
        ["python3", "-c", code],
        kind="workspaces",
        ports=[{"container": PORT, "toolType": "jupyter-notebook"}],
    )
    server.wait(uid, frozenset({"Running"}))
    page = visitor.go(f"/workloads/{uid}?tab=connect")
    expect(page.locator(f"#forward-{PORT}")).to_have_text(
        f"runai workload port-forward lab --project default --port {PORT}:{PORT}"
    )
    assert_accessible(page)
    assert_fits(page)
    page.wait_for_timeout(1000)  # the program needs a moment to listen
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open").click()

    tool = opened.value
    expect(tool.locator("h1")).to_have_text("A tool")
    assert f"t-{PORT}-{uid}.localhost" in tool.url
    expect(tool.locator("#cookies")).to_have_text("none")
    expect(tool).to_have_title("kept apart")
    visitor.complaints.clear()  # of the tool's page, about the answer it was refused


def test_stop_from_the_details_comes_back_to_them(visitor: Visitor, server: OrchestratorProcess) -> None:
    uid = server.submit("short", ["sleep", "600"])
    server.wait(uid, frozenset({"Running"}))
    page = visitor.go(f"/workloads/{uid}")
    page.locator("#do-stop").click()
    expect(page.locator("main")).to_contain_text("It ends its 1 running pod")
    page.get_by_role("button", name="Stop").click()

    page.wait_for_url(f"**/workloads/{uid}")
    expect(page.locator("#state .badge").first).to_have_text("Stopped")
    expect(page.locator("#do-run")).to_be_visible()
