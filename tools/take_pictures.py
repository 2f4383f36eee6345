"""Take all pictures of docs/screenshots anew.

python -m tools.take_pictures [--all FOLDER] [NAME...]

The pages are those of an orchestrator that lived through a day of believable
work (`scene`). The documents show each page in light, and a few in dark and on
a phone; `--all` takes all of them in all three, to be judged. A page that is
wider than its window is told at the end, and fails the run: nothing may have
to be scrolled sideways.
"""

import argparse
import asyncio
import contextlib
import io
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright

from runai_core.cli.serve import Server
from tests.browsers import DESKTOP, EXCESS, FLAGS
from tools.scene import ADMIN, Scene, a_scene

PICTURES = Path(__file__).parent.parent / "docs" / "screenshots"

PHONE = ViewportSize(width=390, height=844)

COLOURS = 128

PATIENCE = 120_000
"""Milliseconds that a page has: pictures are also taken beside other work."""

MOST = 2
"""Heights of a window that a picture has at most."""

IN_EACH_LOOK = frozenset(
    {
        "workloads",
        "workloads-confirm",
        "details-waiting",
        "details-metrics",
        "new-training",
        "overview",
        "project",
        "node",
    }
)
"""Pictures that the documents have in dark and on a phone as well."""

LOOKS: Mapping[str, tuple[ViewportSize, str]] = {
    "": (DESKTOP, "light"),
    "-dark": (DESKTOP, "dark"),
    "-phone": (PHONE, "light"),
}
"""Ending of a picture's name -> window and theme."""

Deed = Callable[[Page], Awaitable[None]]


async def nothing(page: Page) -> None:
    """Leave the page as it opens."""


def opened(text: str) -> Deed:
    """Open what unfolds under this text."""

    async def deed(page: Page) -> None:
        await page.locator("summary", has_text=text).first.click()

    return deed


async def asked_to_stop(page: Page) -> None:
    """Choose two workloads and press Stop."""
    for name in ("two-tower", "tts-vocoder"):
        await page.get_by_label(f"Choose {name}", exact=True).check()
    await page.get_by_role("toolbar").get_by_role("button", name="Stop").click()
    await page.locator("dialog[open]").wait_for()


async def drawn(page: Page) -> None:
    """Wait for the charts."""
    await page.locator("canvas").first.wait_for()


async def written(page: Page) -> None:
    """Wait for the log."""
    await page.get_by_text("images/s").first.wait_for()


async def sent_wrong(page: Page) -> None:
    """Send a form with two mistakes."""
    await page.get_by_label("Name required").fill("My Training")
    await page.get_by_label("GPU devices").first.fill("three")
    await page.get_by_role("button", name="Submit").click()
    await page.get_by_role("alert").wait_for()


async def checked(page: Page) -> None:
    """Ask whether it would start now."""
    await page.get_by_label("Name required").fill("next-sweep")
    await page.locator("[name=image]").fill("nvcr.io/nvidia/pytorch:25.10-py3")
    await page.get_by_label("Command").first.fill("python sweep.py")
    await page.get_by_label("GPU devices").first.fill("1")
    await page.get_by_role("button", name="Check").click()
    await page.locator("#check-result p").first.wait_for()


async def forged(page: Page) -> None:
    """Send a form whose token is not the session's."""
    await page.evaluate("document.querySelector('form[action=\"/logout\"] input').value = 'forged'")
    await page.get_by_role("button", name="Log out").click()
    await page.get_by_role("alert").wait_for()


async def signed_out(page: Page) -> None:
    """Come back when the session is gone."""
    await page.context.clear_cookies()
    await page.reload()


SHOTS: Mapping[str, tuple[str, Deed]] = {
    "workloads": ("/workloads", nothing),
    "workloads-columns": ("/workloads", opened("Columns")),
    "workloads-filtered": ("/workloads?phase=Pending", nothing),
    "workloads-confirm": ("/workloads?sort=name&order=desc", asked_to_stop),
    "workloads-nothing": ("/workloads?search=nowhere", nothing),
    "details": ("/workloads/{vit-large-pretraining}", nothing),
    "details-metrics": ("/workloads/{vit-large-pretraining}?tab=metrics&range=day", drawn),
    "details-logs": ("/workloads/{vit-large-pretraining}?tab=logs", written),
    "details-pods": ("/workloads/{vit-large-pretraining}?tab=pods", nothing),
    "details-connect": ("/workloads/{annotation-lab}?tab=connect", nothing),
    "details-copy": ("/workloads/{vit-large-pretraining}?tab=copy", nothing),
    "details-waiting": ("/workloads/{two-tower}", nothing),
    "details-failed": ("/workloads/{resnet-sweep-lr-1e-3}", nothing),
    "details-inference": ("/workloads/{ranker}", nothing),
    "new-workload": ("/workloads/new", nothing),
    "new-workspace": ("/workloads/new/workspace?project=vision", nothing),
    "new-training": ("/workloads/new/training?project=vision", nothing),
    "new-training-wrong": ("/workloads/new/training?project=vision", sent_wrong),
    "new-training-checked": ("/workloads/new/training?project=vision", checked),
    "new-distributed": ("/workloads/new/distributed?project=vision", nothing),
    "new-inference": ("/workloads/new/inference?project=search", nothing),
    "new-framework": ("/workloads/new/framework?project=search", nothing),
    "overview": ("/overview", nothing),
    "projects": ("/projects", nothing),
    "project": ("/projects/language", nothing),
    "project-edit": ("/projects/language/edit", nothing),
    "departments": ("/departments", nothing),
    "department": ("/departments/research", nothing),
    "department-edit": ("/departments/research/edit", nothing),
    "node-pools": ("/node-pools", nothing),
    "node-pool-edit": ("/node-pools/h100/edit", nothing),
    "nodes": ("/nodes", nothing),
    "node": ("/nodes/a100-01", nothing),
    "policies": ("/policies", nothing),
    "policy-edit": ("/policies/edit?type=training&scope=tenant", nothing),
    "policy-effective": ("/policies/effective?project=vision&type=training", nothing),
    "access-rules": ("/access-rules", nothing),
    "access-rule-new": ("/access-rules/new", nothing),
    "users": ("/users", nothing),
    "user": ("/users/ann.keller@example.com", nothing),
    "service-accounts": ("/service-accounts", nothing),
    "access-keys": ("/access-keys", nothing),
    "roles": ("/roles", nothing),
    "role-new": ("/roles/new", nothing),
    "audit": ("/audit", nothing),
    "assets": ("/assets", nothing),
    "asset-new": ("/assets/new/environment", nothing),
    "asset-new-nfs": ("/assets/new/nfs", nothing),
    "templates": ("/templates", nothing),
    "template-new": ("/templates/new", nothing),
    "topologies": ("/topologies", nothing),
    "clusters": ("/clusters", nothing),
    "cluster": ("/clusters/default", nothing),
    "reports": ("/reports", nothing),
    "report-new": ("/reports/new", nothing),
    "settings": ("/settings", nothing),
    "delete": ("/departments/research/delete", nothing),
    "not-found": ("/workloads/nowhere", nothing),
    "not-allowed": ("/overview", forged),
    "api": ("/api/docs", nothing),
    "login": ("/overview", signed_out),
}
"""Picture -> page, with ids of workloads by name, and what is done there first."""


async def write_first(page: Page) -> None:
    """Open the form of a workspace and fill it in."""
    await page.get_by_role("link", name="New workspace").click()
    await page.get_by_label("Name required").fill("first")
    await page.get_by_label("Command").first.fill("sleep 600")


async def submit_first(page: Page) -> None:
    """Submit it and watch it start."""
    await page.get_by_role("button", name="Submit").click()
    await page.locator("#state .badge", has_text="Running").wait_for()


async def choose_first(page: Page) -> None:
    """Go to the table and choose the row."""
    await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Workloads").click()
    await page.get_by_label("Choose first").check()


async def press(page: Page, action: str) -> None:
    """Press an action above the table: a question comes."""
    await page.get_by_role("toolbar").get_by_role("button", name=action).click()
    await page.locator("dialog[open]").wait_for()


async def confirm(page: Page, action: str) -> None:
    """Answer the question."""
    await page.get_by_role("dialog").get_by_role("button", name=action).click()
    await page.locator("tbody .badge", has_text="Stopped").wait_for()


async def press_again(page: Page) -> None:
    """Choose the row once more, and Delete."""
    await page.get_by_label("Choose first").check()
    await press(page, "Delete")


FIRST_STEPS: Sequence[tuple[str, Deed]] = (
    ("first-1-empty", nothing),
    ("first-2-form", write_first),
    ("first-3-running", submit_first),
    ("first-4-chosen", choose_first),
    ("first-5-stop", lambda page: press(page, "Stop")),
    ("first-6-stopped", lambda page: confirm(page, "Stop")),
    ("first-7-delete", press_again),
)
"""A newcomer's first minute, in an orchestrator where nothing is yet: pictures of each step."""


@contextlib.asynccontextmanager
async def served(scene: Scene) -> AsyncIterator[str]:
    """Yield the address of the scene's pages."""
    config = uvicorn.Config(scene.app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off")
    ready = asyncio.Event()
    server = Server(config, ready.set)
    serving = asyncio.create_task(server.serve())
    try:
        await ready.wait()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


async def take_first_steps(browser: Browser, scene: Scene, base: str, folder: Path) -> None:
    """Take the pictures of a newcomer's first minute, and leave nothing behind."""
    context = await browser.new_context(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")
    page = await signed_in(context, scene, base)
    for name, deed in FIRST_STEPS:
        await deed(page)
        await page.wait_for_timeout(200)
        await keep(page, folder / f"{name}.png")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await page.get_by_role("heading", name="Run your first workload").wait_for()
    await context.close()


async def take(browser: Browser, scene: Scene, base: str, names: Sequence[str], folder: Path) -> list[str]:
    """Take pictures; return which pages are wider than their window."""
    wide = []
    for ending, (size, theme) in LOOKS.items():
        context = await browser.new_context(viewport=size, color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
        page = await signed_in(context, scene, base)
        for name in names:
            if ending and folder == PICTURES and name not in IN_EACH_LOOK:
                continue
            path, deed = SHOTS[name]
            await page.goto(base + with_ids(path, scene.ids))
            await deed(page)
            await page.wait_for_timeout(200)
            excess = await page.evaluate(EXCESS, "html, .scroll")
            if excess > 0:
                wide.append(f"{name}{ending}: {excess} pixels too wide")
            await photograph(page, size, folder / f"{name}{ending}.png")
        await context.close()
    return wide


async def photograph(page: Page, size: ViewportSize, path: Path) -> None:
    """Keep a picture of the page, down to its end or to where nobody reads on."""
    height = min(await page.evaluate("document.documentElement.scrollHeight"), MOST * size["height"])
    await page.set_viewport_size(ViewportSize(width=size["width"], height=max(height, size["height"])))
    await page.wait_for_timeout(150)
    await keep(page, path)
    await page.set_viewport_size(size)


async def keep(page: Page, path: Path) -> None:
    """Keep what the window shows, in as few colours as it has: a third of the size."""
    picture = Image.open(io.BytesIO(await page.screenshot()))
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


async def signed_in(context: BrowserContext, scene: Scene, base: str) -> Page:
    """Return a page of the administrator."""
    actor = await scene.door.access.actor("user", ADMIN)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE)
    await page.goto(f"{base}/login?ticket={await scene.door.sessions.issue_ticket(actor)}")
    await page.wait_for_url("**/workloads*")
    return page


def with_ids(path: str, ids: Mapping[str, str]) -> str:
    """Put the id of a workload in the place of its name between braces."""
    before, brace, rest = path.partition("{")
    if not brace:
        return path
    name, _, after = rest.partition("}")
    return before + ids[name] + after


async def main(words: Sequence[str]) -> int:
    """Return 1 where a page is too wide."""
    parser = argparse.ArgumentParser(description="Take the pictures of docs/screenshots anew.")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="each page in each look, into this folder")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these pages")
    given = parser.parse_args(words)
    folder = given.all or PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium")
    if chromium is None:
        print("There is no chromium: tools/debian install chromium")
        return 2
    with tempfile.TemporaryDirectory() as data:
        async with a_scene(Path(data)) as scene, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            async with served(scene) as base:
                await take_first_steps(browser, scene, base, folder)
                await scene.furnish()
                await scene.live()
                await scene.write_log("vit-large-pretraining")
                wide = await take(browser, scene, base, given.names or list(SHOTS), folder)
            await browser.close()
    print(*wide, sep="\n")
    return 1 if wide else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
