"""A Plotly figure that offers nobody's cloud and asks no other site, wherever it is shown."""

import json
import tempfile
import webbrowser
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

# Options of plotly.js 4 (src/plot_api/plot_config). By default its bar has "Share chart...",
# which uploads the figure to Plotly's cloud, and a logo that leads to the company's site.
CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "plotlyServerURL": "",
    "responsive": True,
    "showSendToCloud": False,
}
MIME = "application/vnd.plotly.v1+json"


class Figure(go.Figure):  # type: ignore[misc]  # Plotly has no types
    """A figure with ``CONFIG`` wherever it is shown or saved.

    Plotly's own ways to show one load MathJax from another site, so a notebook gets the figure as
    data, which it draws itself, and a script opens a file in the browser. A renderer that is
    asked for by name, or set in ``plotly.io.renderers``, is the caller's choice.
    """

    def to_html(self, config: dict[str, Any] | None = None, **options: Any) -> str:
        """As Plotly does, with our options."""
        text: str = super().to_html(CONFIG | (config or {}), **options)
        return text

    def write_html(self, file: Any, config: dict[str, Any] | None = None, **options: Any) -> None:
        """As Plotly does, with our options."""
        super().write_html(file, CONFIG | (config or {}), **options)

    def show(
        self, renderer: str | None = None, config: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Show it in the notebook, or in a browser."""
        usual = (pio.renderers.default or "").split("+")
        if renderer is None and "browser" in usual:
            self._open()
            return
        if renderer is None and "plotly_mimetype" in usual:
            renderer = "plotly_mimetype"
        pio.show(self, renderer, config=CONFIG | (config or {}), **options)

    def _open(self) -> None:
        with tempfile.NamedTemporaryFile(
            "w", suffix=".html", prefix="nasnet-", delete=False, encoding="utf-8"
        ) as file:
            file.write(self.to_html())
        webbrowser.open(f"file://{file.name}")

    def _ipython_display_(self) -> None:
        self.show()

    def _repr_mimebundle_(self, *_args: Any, **_options: Any) -> dict[str, Any]:
        return {MIME: {**json.loads(self.to_json()), "config": CONFIG}}

    def _repr_html_(self) -> str:
        return self.to_html(full_html=False)
