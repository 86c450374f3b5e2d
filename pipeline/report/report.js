// Draws a report's figures; `figures`, `themes` and `options` stand before it.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function draw() {
  for (const [key, figure] of Object.entries(figures)) {
    figure.layout.template = themes[dark.matches ? "dark" : "light"];
    Plotly.react("figure-" + key, figure.data, figure.layout, options);
  }
}
dark.addEventListener("change", draw);
draw();
