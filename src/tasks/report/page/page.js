"use strict";
(() => {
  for (const film of document.querySelectorAll(".film")) {
    const frames = [...film.querySelectorAll("img")];
    film.querySelector("input").addEventListener("input", (event) => {
      frames.forEach((frame, i) => { frame.hidden = i !== Number(event.target.value); });
      film.querySelector("output").textContent = Number(frames[event.target.value].dataset.step).toLocaleString("en");
    });
  }

  const figures = JSON.parse(document.getElementById("figures").textContent);
  const canvases = [...document.querySelectorAll(".canvas")];
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // The colors of the page, which follow the system's light or dark setting and the printer.
  const themed = () => {
    const axis = { gridcolor: color("--line"), linecolor: color("--line"), zerolinecolor: color("--line") };
    const found = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      "font.color": color("--text"), "hoverlabel.bgcolor": color("--ground"), "hoverlabel.font.color": color("--text"),
      "hoverlabel.bordercolor": color("--line"),
    };
    for (const [key, value] of Object.entries(axis)) {
      found["xaxis." + key] = value;
      found["yaxis." + key] = value;
    }
    return found;
  };

  const layout = (figure) => ({
    ...figure.layout,
    margin: { l: 56, r: 12, t: 12, b: 44 }, autosize: true, hovermode: "closest",
    font: { size: 12, family: getComputedStyle(document.body).fontFamily },
    xaxis: { ...figure.layout.xaxis, automargin: true, exponentformat: "power" },
    yaxis: { ...figure.layout.yaxis, automargin: true, exponentformat: "power", minexponent: 4 },
    legend: { orientation: "h", yanchor: "bottom", y: 1.02, x: 0 },
  });

  const draw = async () => {
    for (const canvas of canvases) {
      const figure = figures[Number(canvas.dataset.figure)];
      await Plotly.newPlot(canvas, figure.data, layout(figure), { responsive: true, displaylogo: false, displayModeBar: false });
      await Plotly.relayout(canvas, themed());
    }
    document.documentElement.dataset.plots = "drawn";
    const repaint = () => canvases.forEach((canvas) => Plotly.relayout(canvas, themed()));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    window.matchMedia("print").addEventListener("change", () => { repaint(); canvases.forEach((c) => Plotly.Plots.resize(c)); });
  };

  // The library is kept compressed, which makes the file a third as large.
  const load = async () => {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const source = new Blob([await new Response(stream).arrayBuffer()], { type: "text/javascript" });
    const script = document.createElement("script");
    script.src = URL.createObjectURL(source);
    await new Promise((resolve, reject) => { script.onload = resolve; script.onerror = reject; document.head.append(script); });
  };

  if (canvases.length > 0) {
    load().then(draw).catch((error) => {
      document.getElementById("no-plots").hidden = false;
      console.error(error);
    });
  }
})();
