"""A person with a browser: signs in, looks at pages, and tells when one is hard to use."""

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import BrowserContext, Page, ViewportSize

from tests.orchestrators import OrchestratorProcess

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=360, height=740)


class Visitor:
    """A browser that is signed in; what its console complains of fails the test."""

    def __init__(self, context: BrowserContext, server: OrchestratorProcess) -> None:
        self.context = context
        self.server = server
        self.base = str(server.client.base_url).rstrip("/")
        self.complaints: list[str] = []
        self.page = self.open()

    def open(self) -> Page:
        """Return a new page."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self._hear(message.type, message.text))
        return page

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error" and "Failed to load resource" not in text:
            self.complaints.append(text)

    def sign_in(self) -> None:
        """Follow the link that `runai up` prints."""
        answer = self.server.post("/api/v1/sessions/tickets")
        answer.raise_for_status()
        self.page.goto(self.base + answer.json()["path"])
        self.page.wait_for_url("**/workloads*")

    def go(self, path: str) -> Page:
        """Open one of our pages."""
        self.page.goto(self.base + path)
        return self.page


def serious(page: Page) -> list[str]:
    """Return what axe-core finds that keeps people out: serious and critical violations."""
    found = Axe().run(page).response["violations"]
    return [
        f"{item['id']}: {item['help']} at {[node['target'] for node in item['nodes'][:4]]}"
        for item in found
        if item["impact"] in ("serious", "critical")
    ]


def assert_accessible(page: Page) -> None:
    """Check the page as it is, in light and in dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert serious(page) == [], f"{page.url} in {scheme}"
    page.emulate_media(color_scheme="light")


def assert_fits(page: Page) -> None:
    """Check that the page does not have to be scrolled sideways, on a desk or on a phone."""
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        wide = page.evaluate(EXCESS, "html")
        assert wide <= 0, f"{page.url} is {wide} pixels too wide at {size['width']}"
    page.set_viewport_size(DESKTOP)


EXCESS = (
    """(boxes) => Math.max(...[...document.querySelectorAll(boxes)].map((box) => box.scrollWidth - box.clientWidth))"""
)
"""By how many pixels the widest of these boxes has to be scrolled sideways."""
