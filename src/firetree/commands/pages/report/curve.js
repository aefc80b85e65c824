/* Steps over time: a column for each bin, as high as its median step, divided into parts. */
function curve(box, data) {
  const count = data.first.length, TOP = 52, HEIGHT = 220, FOOT = 24;
  const end = data.last[count - 1] + 1, start = data.first[0];
  const many = data.first.some((first, bin) => first !== data.last[bin]);
  let x, y, cursor, tip, at = null;

  /* High enough for almost all steps; marks tell of the few above. */
  function ceiling() {
    const sorted = [...data.mid].sort((a, b) => a - b);
    const usual = sorted[Math.floor((count - 1) * 0.98)] * 1.5;
    return Math.max(Math.min(Math.max(...data.high) * 1.05, usual), 1e-6);
  }

  function outline(tops, bottoms) {
    const edge = (bin) => x(bin < count ? data.first[bin] : end).toFixed(1);
    const there = tops.map((top, bin) => `${edge(bin)} ${y(top)}L${edge(bin + 1)} ${y(top)}`);
    const back = bottoms.map((low, bin) => `${edge(bin + 1)} ${y(low)}L${edge(bin)} ${y(low)}`).reverse();
    return `M${there.join("L")}L${back.join("L")}Z`;
  }

  function path(values) {
    return `M${values.map((value, bin) => {
      const next = bin + 1 < count ? data.first[bin + 1] : end;
      return `${x(data.first[bin]).toFixed(1)} ${y(value)}L${x(next).toFixed(1)} ${y(value)}`;
    }).join("L")}`;
  }

  function draw(canvas, width) {
    const most = ceiling(), left = 52, right = 8;
    x = (step) => left + (step - start) / (end - start) * (width - left - right);
    y = (ms) => (TOP + HEIGHT * (1 - Math.min(ms, most) / most)).toFixed(1);
    canvas.replaceChildren();
    const svg = make(canvas, "svg", { width, height: TOP + HEIGHT + FOOT, "aria-hidden": "true" });
    tip = tooltip(canvas);
    at = null;
    drawAxes(svg, width, left, right, most);
    let below = data.mid.map(() => 0);
    for (const name of Object.keys(data.parts)) {
      const above = below.map((low, bin) => low + data.parts[name][bin]);
      if (data.parts[name].some(Boolean)) make(svg, "path", { class: `k-${name}`, d: outline(above, below) });
      below = above;
    }
    if (many) {
      make(svg, "path", { class: "extreme", d: path(data.high) });
      make(svg, "path", { class: "extreme low", d: path(data.low) });
    }
    data.high.forEach((high, bin) => {
      if (high > most) make(svg, "path", { class: "above", d: `M${middle(bin)} ${TOP - 1}l-4 6h8z` });
    });
    drawEvents(svg);
    drawStretches(svg);
    cursor = make(svg, "line", { class: "cursor", y1: TOP, y2: TOP + HEIGHT, visibility: "hidden" });
  }

  const middle = (bin) => (x(data.first[bin]) + x(bin + 1 < count ? data.first[bin + 1] : end)) / 2;

  function drawAxes(svg, width, left, right, most) {
    const grid = make(svg, "g", { class: "grid" });
    for (const ms of ticks(0, most, 4)) {
      make(grid, "line", { x1: left, x2: width - right, y1: y(ms), y2: y(ms) });
      make(grid, "text", { x: left - 6, y: Number(y(ms)) + 4, "text-anchor": "end" }, ms ? time(ms * 1e3) : "0");
    }
    for (const step of ticks(start, end - 1, (width - left) / 72, 1)) {
      const text = { x: x(step), y: TOP + HEIGHT + 16, "text-anchor": x(step) > width - 24 ? "end" : "middle" };
      make(grid, "text", text, step.toLocaleString("en"));
    }
  }

  function drawStretches(svg) {
    data.stretches.forEach(([first, last, algorithm, ms], index) => {
      const a = x(Math.max(first, start)), b = x(Math.min(last + 1, end));
      if (index) make(svg, "line", { class: "border", x1: a, x2: a, y1: TOP - 22, y2: TOP + HEIGHT });
      const words = [`${algorithm}, ${time(ms * 1e3)}`, time(ms * 1e3)].find((it) => 6.6 * it.length < b - a - 8);
      if (words) make(svg, "text", { class: "stretch", x: a + 5, y: TOP - 9 }, words);
    });
  }

  /* Numbers as in the list below; neighbours share a pin. */
  function drawEvents(svg) {
    const pins = [];
    data.events.forEach(([step, mood], index) => {
      const place = x(Math.min(Math.max(step, start), end)), last = pins.at(-1);
      if (last && place - last.place < 26) {
        last.to = index + 1;
        if (mood === "bad" || last.mood === "calm") last.mood = mood;
      } else {
        pins.push({ place, from: index + 1, to: index + 1, mood });
      }
    });
    for (const { place, from, to, mood } of pins) {
      const words = from === to ? `${from}` : `${from}–${to}`, wide = 12 + 7 * words.length;
      const pin = make(svg, "g", { class: `pin is-${mood}` });
      const left = Math.min(Math.max(place - wide / 2, 0), svg.clientWidth - wide || place);
      make(pin, "line", { x1: place, x2: place, y1: 18, y2: TOP + HEIGHT });
      make(pin, "rect", { x: left, y: 1, width: wide, height: 18, rx: 9 });
      make(pin, "text", { x: left + wide / 2, y: 14 }, words);
    }
  }

  function hold(bin) {
    at = bin;
    const place = middle(bin), first = data.first[bin], last = data.last[bin];
    for (const key of ["x1", "x2"]) cursor.setAttribute(key, place);
    cursor.setAttribute("visibility", "visible");
    const title = first === last ? `Step ${first.toLocaleString("en")}: ${time(data.mid[bin] * 1e3)}`
      : `Steps ${first.toLocaleString("en")} to ${last.toLocaleString("en")}: median ${time(data.mid[bin] * 1e3)}`;
    const lines = first === last ? [] : [`fastest ${time(data.low[bin] * 1e3)}, slowest ${time(data.high[bin] * 1e3)}`];
    for (const [name, words] of Object.entries(data.names)) {
      const ms = data.parts[name][bin];
      if (ms) lines.push(`${words} ${time(ms * 1e3)}`);
    }
    tip.show(place, Math.max(Number(y(data.mid[bin])), TOP + 20), title, lines);
  }

  function leave() {
    at = null;
    cursor?.setAttribute("visibility", "hidden");
    tip?.hide();
  }

  function point(px) {
    const step = data.first.findLastIndex((first) => x(first) <= px);
    hold(Math.max(step, 0));
  }

  function key(pressed) {
    const next = led(pressed, at, count);
    if (next !== null) hold(next);
    return next !== null;
  }

  picture(box, { draw, point, key, leave });
}
