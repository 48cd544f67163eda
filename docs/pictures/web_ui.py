"""Takes the pictures of the web UI, and of the craters found, from what `make demo` left.

    make pictures        # in the repository's root, after make demo

It opens the demo's own history in a real browser (Debian's chromium) and goes where a newcomer
goes, as tests/assets/test_asset_browser.py does.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from crater_assets import launch
from tests.assets import browser

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1200, 680  # px of a page
MOST_BYTES = 150_000
SIDEBAR = 240  # px that say the same in each picture


def main(demo: Path) -> None:
    summary = json.loads((demo / "summary.json").read_text())
    with launch.dagster_dev(demo.parent, home=demo / "dagster", log=demo / "dagster.log") as url, (
            browser.open_browser(WIDTH + SIDEBAR, HEIGHT)) as page:
        page.goto(url)
        for name, png in pictures(page, summary["best"]):
            keep(name, Image.open(io.BytesIO(png)))
    keep("overlay", Image.open(demo / "overlay.png").convert("RGB"))


def pictures(page: Page, best: str) -> Iterator[tuple[str, bytes]]:
    """(name, PNG) of what is seen: the graph, a training, the dialog, the leaderboard."""
    def seen(height: int = HEIGHT) -> bytes:
        page.wait_for_timeout(3000)  # for what is fetched after the page, such as colours
        page.mouse.move(SIDEBAR + 2, HEIGHT - 2)  # no button is lit
        return page.screenshot(animations="disabled", caret="hide", clip={
            "x": SIDEBAR, "y": 0, "width": WIDTH, "height": height})

    page.goto(f"{page.url.split('/overview')[0].rstrip('/')}/locations/{launch.LOCATION}"
              "/asset-groups/craters/lineage")
    page.locator("foreignObject").filter(has_text="serving_image").first.wait_for()
    yield "assets", seen()
    browser.open_asset(page, "checkpoint", "Partitions")
    page.get_by_text(best, exact=True).first.click()
    browser.entry(page, "score").wait_for()
    yield "training", seen()
    page.get_by_role("button").filter(has_text="Materialize").first.click()
    page.get_by_text("Partition selection").wait_for()  # of which that of the page is chosen
    yield "partitions", seen()
    page.reload()
    browser.open_asset(page, "best_model")
    browser.entry(page, "leaderboard").scroll_into_view_if_needed()
    yield "leaderboard", seen()


def keep(name: str, picture: Image.Image) -> None:
    """Writes a picture of few colours beside this file, smaller where it must be."""
    width = picture.width
    while True:
        small = picture.resize((width, round(picture.height * width / picture.width)),
                               Image.Resampling.LANCZOS) if width < picture.width else picture
        out = io.BytesIO()
        small.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(
            out, format="png", optimize=True)
        if out.tell() <= MOST_BYTES:
            break
        width = width * 9 // 10
    (HERE / f"{name}.png").write_bytes(out.getvalue())
    print(f"{name}.png  {small.width}x{small.height} px, {out.tell()} bytes")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo").absolute()))
