/* One step of each rank: its phases, below them its buckets, and what goes to and from its peers. */
function timeline(box, data) {
  const HEIGHTS = { phase: 18, bucket: 13, to: 8, from: 8 };
  const CAPTIONS = { phase: "phases", bucket: "buckets", to: "sends", from: "receives" };
  const nameOf = new Map(data.ranks);
  const chips = add(box, "div", "chips");
  chips.setAttribute("role", "group");
  chips.setAttribute("aria-label", "Step");
  let chosen = 0, lanes = [], held = null, svg, scale, mark, line, tip;

  data.steps.forEach((step, index) => {
    const chip = add(chips, "button", "", step.isOpen ? `step ${step.step}, not over` : `step ${step.step}`);
    chip.type = "button";
    chip.onclick = () => { chosen = index; draw(canvas, canvas.clientWidth); };
  });
  const about = add(box, "p", "quiet about");

  const name = (rank) => nameOf.get(rank) || `rank ${rank}`;
  const extent = (start, end) => `${time(end - start)}, from ${time(start)} to ${time(end)}`;

  function phase(rank, [kind, start, end]) {
    return { start, end, css: `k-${kind}`, title: `${name(rank)}: ${data.names[kind]}`, lines: [extent(start, end)] };
  }

  function bucket(rank, layers, [key, bytes, ready, start, end]) {
    const named = layers[key] || [];
    const more = named.length > 4 ? ` and ${named.length - 4} more` : "";
    const lines = [`${bytes === null ? "" : `${size(bytes)}, `}${extent(start, end)}`];
    if (start - ready > 1000) lines.push(`ready ${time(start - ready)} before its sum began`);
    if (named.length) lines.push(named.slice(0, 4).join(", ") + more);
    return { start, end, css: "k-sum", title: `${name(rank)}: sum of bucket ${key}`, lines, label: key };
  }

  function flow(rank, [isReceived, peer, key, count, bytes, start, end]) {
    const way = isReceived ? "from" : "to";
    const told = `${count} transfer${count === 1 ? "" : "s"}, ${size(bytes)}, ${rate(bytes * 8e6 / Math.max(end - start, 1))}`;
    return {
      start, end, css: `k-${way}`, title: `${name(rank)} ${way} ${name(peer)}: bucket ${key}`,
      lines: [told, extent(start, end)],
    };
  }

  /* What overlaps goes to lanes of its own, to four at most. */
  function spread(kind, spans) {
    const found = [];
    for (const span of spans.sort((a, b) => a.start - b.start)) {
      const free = found.find((lane) => lane.at(-1).end <= span.start) || (found.length >= 4 && found.at(-1));
      if (free) free.push(span);
      else found.push([span]);
    }
    return found.map((lane) => ({ kind, spans: lane }));
  }

  function lanesOf(step) {
    return step.rows.flatMap((row, index) => {
      const rank = data.ranks[index][0];
      const flows = row.flows.map((it) => ({ ...flow(rank, it), way: it[0] ? "from" : "to" }));
      const found = [
        { kind: "phase", spans: row.phases.map((it) => phase(rank, it)) },
        ...spread("bucket", row.buckets.map((it) => bucket(rank, step.layers, it))),
        ...spread("to", flows.filter((it) => it.way === "to")),
        ...spread("from", flows.filter((it) => it.way === "from")),
      ];
      return found.map((lane, place) => ({ ...lane, rank, isFirst: place === 0 }));
    });
  }

  function draw(canvas, width) {
    const step = data.steps[chosen];
    [...chips.children].forEach((chip, index) => chip.setAttribute("aria-pressed", index === chosen));
    about.textContent = `Step ${step.step}: ${step.title}. ${data.left}`;
    lanes = lanesOf(step);
    const isWide = width >= 640, gutter = isWide ? 150 : 0, right = 10;
    const end = Math.max(1, ...lanes.flatMap((lane) => lane.spans.map((span) => span.end)));
    scale = (us) => gutter + us / end * (width - gutter - right);
    canvas.replaceChildren();
    svg = make(canvas, "svg", { width, "aria-hidden": "true" });
    tip = tooltip(canvas);
    let y = 26;
    const grid = make(svg, "g", { class: "grid" });
    for (const lane of lanes) {
      if (lane.isFirst) {
        y += 12;
        if (!isWide) y += 18;
        make(svg, "text", { class: "rank", x: 0, y: isWide ? y + 13 : y - 5 }, name(lane.rank));
      } else if (isWide && lane.kind !== lanes[lanes.indexOf(lane) - 1].kind) {
        make(svg, "text", { class: "caption", x: gutter - 8, y: y + HEIGHTS[lane.kind] / 2 + 4 }, CAPTIONS[lane.kind]);
      }
      drawLane(lane, y);
      y += lane.height + 4;
    }
    for (const at of ticks(0, end, (width - gutter) / 76)) {
      const x = scale(at);
      make(grid, "line", { x1: x, x2: x, y1: 22, y2: y });
      make(grid, "text", { x, y: 14, "text-anchor": at ? (x > width - 30 ? "end" : "middle") : "start" }, at ? time(at) : "0");
    }
    line = make(svg, "line", { class: "cursor", y1: 22, y2: y, visibility: "hidden" });
    mark = make(svg, "rect", { class: "held", rx: 2, visibility: "hidden" });
    svg.setAttribute("height", y + 4);
    held = null;
  }

  function drawLane(lane, y) {
    lane.y = y;
    lane.height = HEIGHTS[lane.kind];
    for (const span of lane.spans) {
      const x = scale(span.start), width = Math.max(scale(span.end) - x, 1);
      make(svg, "rect", { class: span.css, x, y, width, height: lane.height });
      if (span.label && width > 8 + 7 * span.label.length) {
        make(svg, "text", { class: "inside", x: x + width / 2, y: y + 10 }, span.label);
      }
    }
  }

  function hold(lane, span, x) {
    held = { lane, span };
    const left = scale(span.start), right = scale(span.end);
    const at = Math.min(Math.max(x ?? (left + right) / 2, left), right);
    const box = { x: left - 1, y: lane.y - 1, width: Math.max(right - left, 1) + 2, height: lane.height + 2 };
    for (const [key, value] of Object.entries(box)) mark.setAttribute(key, value);
    for (const key of ["x1", "x2"]) line.setAttribute(key, at);
    mark.setAttribute("visibility", "visible");
    line.setAttribute("visibility", "visible");
    tip.show(at, lane.y, span.title, span.lines);
  }

  function leave() {
    held = null;
    for (const it of [mark, line]) it?.setAttribute("visibility", "hidden");
    tip?.hide();
  }

  /* The nearest lane, and in it what is there or near: thin bars can be hit with a finger. */
  function point(x, y) {
    const distance = (lane) => Math.max(lane.y - y, y - lane.y - lane.height, 0);
    const near = lanes.filter((lane) => lane.spans.length).sort((a, b) => distance(a) - distance(b))[0];
    if (!near || distance(near) > 14) return leave();
    const gap = (span) => Math.max(scale(span.start) - x, x - scale(span.end), 0);
    const span = near.spans.reduce((a, b) => (gap(b) < gap(a) ? b : a));
    if (gap(span) > 12) return leave();
    return hold(near, span, x);
  }

  function key(pressed) {
    const full = lanes.filter((lane) => lane.spans.length);
    if (!full.length) return false;
    if (!held) return pressed.startsWith("Arrow") && (hold(full[0], full[0].spans[0]), true);
    const { lane, span } = held, place = lane.spans.indexOf(span);
    const beside = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: lane.spans.length - 1 }[pressed];
    if (beside !== undefined) {
      hold(lane, lane.spans[Math.min(Math.max(beside, 0), lane.spans.length - 1)]);
      return true;
    }
    const down = { ArrowUp: -1, ArrowDown: 1 }[pressed];
    if (!down) return false;
    const next = full[full.indexOf(lane) + down];
    const middle = (span.start + span.end) / 2;
    const far = (it) => Math.abs((it.start + it.end) / 2 - middle);
    if (next) hold(next, next.spans.reduce((a, b) => (far(b) < far(a) ? b : a)));
    return true;
  }

  const canvas = picture(box, { draw, point, key, leave });
}
