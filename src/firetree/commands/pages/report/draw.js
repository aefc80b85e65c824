const SVG = "http://www.w3.org/2000/svg";

function make(parent, tag, attributes = {}, words = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = words;
  return parent.appendChild(element);
}

function add(parent, tag, className = "", words = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = words;
  return parent.appendChild(element);
}

const three = (value) => Number(value.toPrecision(3)).toLocaleString("en");

function time(us) {
  if (us >= 999500) return `${three(us / 1e6)} s`;
  return us >= 999.5 ? `${three(us / 1e3)} ms` : `${Math.round(us)} µs`;
}

function size(bytes) {
  for (const [unit, factor] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (bytes >= factor) return `${three(bytes / factor)} ${unit}`;
  }
  return `${bytes} B`;
}

function rate(bitsPerSecond) {
  for (const [unit, factor] of [["Gbit/s", 1e9], ["Mbit/s", 1e6]]) {
    if (bitsPerSecond >= factor) return `${three(bitsPerSecond / factor)} ${unit}`;
  }
  return `${three(bitsPerSecond / 1e3)} kbit/s`;
}

/* Round values from `first` to `last`, about `count` of them. */
function ticks(first, last, count, least = 0) {
  const rough = Math.max((last - first) / Math.max(count, 1), least, 1e-9);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((it) => it * power).find((it) => it >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(first / step) * step; at <= last; at += step) found.push(at);
  return found;
}

/* What is under the pointer, in words beside it; screen readers hear them. */
function tooltip(canvas) {
  const box = add(canvas, "div", "tip");
  box.setAttribute("role", "status");
  box.hidden = true;
  return {
    hide() { box.hidden = true; },
    show(x, y, title, lines) {
      box.replaceChildren();
      add(box, "b", "", title);
      for (const line of lines) add(box, "span", "", line);
      box.hidden = false;
      const width = canvas.clientWidth, { offsetWidth, offsetHeight } = box;
      box.style.left = `${Math.max(0, Math.min(x - offsetWidth / 2, width - offsetWidth))}px`;
      box.style.top = `${y - offsetHeight - 10 < 0 ? y + 24 : y - offsetHeight - 10}px`;
    },
  };
}

/* Where an arrow key, Home or End leads from `at`, of `count` places; null for any other key. */
function led(pressed, at, count) {
  const next = { ArrowLeft: at === null ? count - 1 : at - 1, ArrowRight: at === null ? 0 : at + 1, Home: 0, End: count - 1 };
  return pressed in next ? Math.min(Math.max(next[pressed], 0), count - 1) : null;
}

/* A box that is drawn anew whenever its width changes, and that pointer and keys can enter. */
function picture(box, { draw, point, key, leave }) {
  const canvas = add(box, "div", "canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `${box.dataset.label}; arrow keys move through it, Escape leaves`);
  let width = 0;
  new ResizeObserver(() => {
    if (canvas.clientWidth === width) return;
    width = canvas.clientWidth;
    draw(canvas, width);
  }).observe(canvas);
  const place = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    point(event.clientX - left, event.clientY - top);
  };
  canvas.addEventListener("pointermove", place);
  canvas.addEventListener("pointerdown", place);
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && leave());
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") leave();
    else if (key(event.key)) event.preventDefault();
  });
  return canvas;
}
