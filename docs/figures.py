"""README's figures, made again: ``python docs/figures.py SEARCH``, of a search in ``NASNET_HOME``.

Writes into docs/images. Needs the extras `notebook` and `test`, and Chromium.
"""

import shutil
import sys
from pathlib import Path

import plotly.graph_objects as go
from playwright.sync_api import sync_playwright

from pipeline.genotypes.drawing import draw, picture_of
from pipeline.notebook import open_store

IMAGES = Path(__file__).parent / "images"
WIDTH = 860


def main(name: str) -> None:
    """Draw the figures of a search, and its best genotype."""
    search = open_store().search(name)
    best = search.best(1)[0]
    (IMAGES / "best.svg").write_bytes(draw(picture_of(best.genotype), "svg"))
    photograph(
        {
            "rewards": search.plot_history(),
            "policy": search.plot_policy(),
            "operations": search.plot_operations(),
            "parameters": search.plot_accuracy("parameters"),
        }
    )


def photograph(figures: dict[str, go.Figure]) -> None:
    """Each figure as a browser shows it, as a PNG."""
    chromium = shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 600})
        for name, figure in figures.items():
            page.set_content(figure.to_html(config={"displayModeBar": False}))
            page.locator("svg.main-svg").first.wait_for()
            page.locator(".plotly-graph-div").screenshot(path=IMAGES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
