"""Dagster's web UI in a headless Chromium, by what a person reads there and clicks on."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from playwright.sync_api import Error, Locator, Page, sync_playwright

WAIT_MS = 240_000  # for what runs bring, on a busy machine; a click waits for its button, too


@contextmanager
def open_browser(width: int = 1400, height: int = 900) -> Iterator[Page]:
    """A page of Debian's Chromium, with a profile that ends with it; skips where it is missing."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on this machine (Debian's package chromium)")
    with sync_playwright() as playwright:
        # As root it has no sandbox; it only sees what this machine serves.
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox"] if os.getuid() == 0 else [])
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(WAIT_MS)
        try:
            yield context.new_page()
        finally:
            browser.close()


def navigate(page: Page, entry: str) -> None:
    """Follows an entry of the bar on the left: Runs, Catalog, Jobs, Lineage."""
    page.locator("[class*=MainNavigation]").get_by_text(entry, exact=True).click()


def open_asset(page: Page, name: str, tab: str = "") -> None:
    """The page of an asset, as found in the catalog."""
    navigate(page, "Catalog")
    page.locator(f"a[href$='/assets/{name}']").first.click()
    if tab:
        open_tab(page, tab)


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).first.click()


def choose_partitions(page: Page, names: Sequence[str]) -> None:
    """Ticks partitions in the dialog that "Materialize..." opens."""
    page.get_by_text("Select a partition or create one").click()
    for name in names:
        page.get_by_role("menuitem").filter(has=page.get_by_text(name, exact=True)).click()


def view_launched(page: Page) -> None:
    """Follows "View" in the note that tells of the run or backfill just launched."""
    note = page.locator("[class*=toastInner]").filter(
        has_text=re.compile("Launched run|Created backfill")).last
    note.get_by_text("View", exact=True).click()


def wait_for(page: Page, text: str) -> None:
    """Waits for a text; some pages have to be loaded again to show what is new."""
    for _ in range(WAIT_MS // 15_000):
        try:
            page.get_by_text(text).first.wait_for(timeout=15_000)
            return
        except Error:
            page.reload()
    raise AssertionError(f"{page.url}: no {text} after {WAIT_MS // 1000} s")


def ending(page: Page) -> str:
    """How the run of this page ended."""
    seen = page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
    seen.wait_for()
    return seen.inner_text()


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog").last


def entry(page: Page, name: str) -> Locator:
    """The line of an entry in a page's metadata."""
    return page.locator("tr").filter(has=page.get_by_text(name, exact=True)).last


def rows(page: Page, name: str) -> list[str]:
    """The lines of the table that an entry of a page's metadata is."""
    lines = entry(page, name).locator("tr")
    lines.first.wait_for()
    return lines.all_inner_texts()


def picture_behind(page: Page, name: str) -> list[int]:
    """[width, height] px of the picture of a metadata entry: in its line, or one click from there,
    in a dialog or a page of its own, which is closed again."""
    line, before = entry(page, name), page.url
    line.locator("img, a").first.wait_for(state="attached")
    if not line.locator("img").count():
        line.locator("a").last.click()
    for _ in range(WAIT_MS // 100):
        for seen in page.context.pages:
            for picture in seen.locator("img").all():
                size = picture.evaluate("e => e.isConnected ? [e.naturalWidth, e.naturalHeight] : [0, 0]")
                if min(size) > 100:  # no icon
                    _leave(page, before)
                    return size
        page.wait_for_timeout(100)
    raise AssertionError(f"no picture behind {name} on {page.url}")


def _leave(page: Page, before: str) -> None:
    for other in page.context.pages:
        if other is not page:
            other.close()
    if page.url != before:
        page.go_back()
    elif page.get_by_role("dialog").count():
        dialog(page).get_by_role("button", name="Close").click()
