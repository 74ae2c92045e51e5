"""Pictures of every page, light and dark, for the README: `python -m tests.browser.screenshots ADDRESS HOME`.

ADDRESS: where the pages of HOME answer. Written to orchestration/pages/pictures/ as WebP, a page in two files, cut to
what a screen shows.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.benchmarks.pages import addresses
from tests.browser.conftest import FLAGS

PICTURES = Path(__file__).resolve().parents[2] / "orchestration" / "pages" / "pictures"
WIDTH, HEIGHT, QUALITY = 1200, 900, 60
# picture: which of the addresses of tests.benchmarks.pages
SHOWN = {
    "funnel": "funnel",
    "filter": "a filter, threshold moved",
    "document": "a dropped document",
    "search": "search, words",
    "labels": "labels",
    "diff": "diff of two policies",
    "takedown": "takedown, a host",
    "models": "models",
    "model": "a model",
    "probe": "probe of a text",
    "chat": "chat",
    "arena": "arena",
    "card": "corpus card",
}


def main(address: str, home: Path) -> None:
    """Opens each page in each colour scheme, waits until nothing moves, and keeps the picture."""
    found = addresses(home)
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for scheme in ("light", "dark"):
            context = browser.new_context(color_scheme=scheme, viewport={"width": WIDTH, "height": HEIGHT})
            page = context.new_page()
            for name, which in SHOWN.items():
                page.goto(address + found[which])
                page.wait_for_load_state("networkidle")
                picture = Image.open(io.BytesIO(page.screenshot()))
                picture.save(PICTURES / f"{name}-{scheme}.webp", quality=QUALITY, method=6)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), Path(sys.argv[2]))
