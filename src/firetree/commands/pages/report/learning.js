/* Losses by epoch, and the accuracy below them; the best evaluation is marked. */
function learning(box, data) {
  const count = data.epoch.length, LEFT = 52, RIGHT = 12, TOP = 22, GAP = 14, FOOT = 24;
  const panels = [{ names: ["train", "test"], high: 150 }, { names: ["accuracy"], high: 90 }]
    .filter(({ names }) => names.some((name) => data[name].some((it) => it !== null)));
  const high = panels.reduce((sum, it) => sum + it.high + GAP, TOP);
  const start = data.epoch[0], end = Math.max(data.epoch[count - 1], start + 1);
  let x, cursor, tip, at = null;

  /* Almost all values; lines leave the picture where a few are far above. */
  function range(names) {
    const values = names.flatMap((name) => data[name]).filter((it) => it !== null).sort((a, b) => a - b);
    const most = values.at(-1);
    if (names.includes("accuracy")) return [Math.max(0, values[0] - 0.04), Math.min(1, most + 0.04)];
    return [0, Math.max(Math.min(most * 1.05, values[Math.floor((values.length - 1) * 0.95)] * 1.5), 1e-6)];
  }

  const told = (name, value) => name === "accuracy" ? `${three(100 * value)} %` : three(value);

  function draw(canvas, width) {
    x = (index) => LEFT + (data.epoch[index] - start) / (end - start) * (width - LEFT - RIGHT);
    canvas.replaceChildren();
    const svg = make(canvas, "svg", { width, height: high + FOOT, "aria-hidden": "true" });
    tip = tooltip(canvas);
    at = null;
    if (data.since !== null) drawSince(svg, width);
    let top = TOP;
    for (const panel of panels) {
      drawPanel(svg, width, panel, top);
      top += panel.high + GAP;
    }
    for (const epoch of ticks(start, end, (width - LEFT) / 56, 1)) {
      const place = LEFT + (epoch - start) / (end - start) * (width - LEFT - RIGHT);
      make(svg, "text", { x: place, y: high + 8, "text-anchor": "middle" }, epoch.toLocaleString("en"));
    }
    if (data.best !== null) drawBest(svg, width);
    cursor = make(svg, "line", { class: "cursor", y1: TOP, y2: high - GAP, visibility: "hidden" });
  }

  function drawPanel(svg, width, { names, high: tall }, top) {
    const [least, most] = range(names);
    const y = (value) => (top + tall * (1 - (Math.min(value, most) - least) / (most - least || 1))).toFixed(1);
    const grid = make(svg, "g", { class: "grid" });
    for (const value of ticks(least, most, tall / 22)) {
      make(grid, "line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) });
      make(grid, "text", { x: LEFT - 6, y: Number(y(value)) + 4, "text-anchor": "end" }, told(names[0], value));
    }
    for (const name of names) {
      let pen = "M";
      const d = data[name].map((value, index) => {
        const move = value === null ? "" : `${pen}${x(index).toFixed(1)} ${y(value)}`;
        pen = value === null ? "M" : "L";
        return move;
      }).join("");
      if (d) make(svg, "path", { class: `line is-${name}`, d: d.includes("L") ? d : `${d}h0.01` });
    }
  }

  function drawSince(svg, width) {
    const first = x(Math.max(0, data.epoch.findIndex((epoch) => epoch >= data.since)));
    make(svg, "rect", { class: "worse", x: first, y: TOP, width: width - RIGHT - first, height: high - TOP - GAP });
  }

  function drawBest(svg, width) {
    const place = x(data.best), anchor = place > width - 60 ? "end" : place < LEFT + 20 ? "start" : "middle";
    make(svg, "line", { class: "best", x1: place, x2: place, y1: TOP, y2: high - GAP });
    make(svg, "text", { class: "best", x: place, y: TOP - 7, "text-anchor": anchor }, "best");
  }

  function hold(index) {
    at = index;
    for (const key of ["x1", "x2"]) cursor.setAttribute(key, x(index));
    cursor.setAttribute("visibility", "visible");
    const known = Object.entries(data.names).filter(([name]) => data[name][index] !== null);
    const lines = known.map(([name, words]) => `${words} ${told(name, data[name][index])}`);
    const title = `Epoch ${data.epoch[index].toLocaleString("en")}, step ${data.step[index].toLocaleString("en")}`;
    tip.show(x(index), TOP + 40, title, lines);
  }

  function leave() {
    at = null;
    cursor?.setAttribute("visibility", "hidden");
    tip?.hide();
  }

  function point(px) {
    const away = data.epoch.map((_, index) => Math.abs(x(index) - px));
    hold(away.indexOf(Math.min(...away)));
  }

  function key(pressed) {
    const next = led(pressed, at, count);
    if (next !== null) hold(next);
    return next !== null;
  }

  picture(box, { draw, point, key, leave });
}
