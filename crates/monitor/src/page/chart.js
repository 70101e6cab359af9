// Draws series over time as SVG, independently of their meaning.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes = {}, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// A path through all values; a missing value interrupts the line.
function path(values, x, y) {
  let text = "";
  let pen = "M";
  values.forEach((value, nth) => {
    if (value === null) { pen = "M"; return; }
    const next = values[nth + 1];
    const alone = pen === "M" && (next === null || next === undefined);
    text += `${pen}${x(nth).toFixed(1)} ${y(value).toFixed(1)}${alone ? "h.1" : ""}`;
    pen = "L";
  });
  return text;
}

// Round numbers from 0 to at least `most`.
function steps(most) {
  const raw = Math.max(most, 1) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const all = [];
  for (let at = 0; at < most + step; at += step) all.push(at);
  return all;
}

export function sparkline(at, values, label) {
  const svg = element("svg", { viewBox: "0 0 120 26", role: "img", "aria-label": label });
  const first = at[0] ?? 0;
  const width = Math.max((at[at.length - 1] ?? 1) - first, 1);
  const most = Math.max(...values.filter((value) => value !== null), 1);
  svg.append(element("path", { d: path(values, (nth) => 1 + (118 * (at[nth] - first)) / width, (value) => 24 - (22 * value) / most) }));
  return svg;
}

// A chart that is redrawn by `draw`. It remembers the hidden series and the position of the cursor.
export class Chart {
  constructor(place) {
    this.place = place;
    this.hidden = new Set();
    this.cursor = null;
    this.reading = document.createElement("p");
    this.reading.className = "reading";
    this.reading.setAttribute("aria-live", "polite");
    this.legend = document.createElement("ul");
    this.legend.className = "legend";
    this.canvas = document.createElement("div");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "group");
    place.append(this.canvas, this.reading, this.legend);
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.move(null));
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !this.data) return;
      event.preventDefault();
      const last = this.data.at.length - 1;
      this.move(Math.min(Math.max((this.cursor ?? last) + step, 0), last));
    });
    new ResizeObserver(() => this.data && this.draw(this.data)).observe(place);
  }

  // `at` in milliseconds; series have `name`, `mark` (a class) and `values`; `show` formats a value.
  draw(data) {
    this.data = data;
    const { at, series, show, label } = data;
    const width = Math.max(this.place.clientWidth - 24, 260);
    const height = width < 500 ? 220 : 300;
    const seen = series.filter(({ name }) => !this.hidden.has(name));
    const most = Math.max(0, ...seen.flatMap(({ values }) => values.filter((value) => value !== null)));
    const lines = steps(most);
    const top = lines[lines.length - 1];
    const left = 8 + 7 * Math.max(...lines.map((value) => show(value).length));
    const from = at[0] ?? 0;
    const time = Math.max((at[at.length - 1] ?? 1) - from, 1);
    this.x = (nth) => left + ((width - left - 8) * (at[nth] - from)) / time;
    const y = (value) => height - 22 - ((height - 32) * value) / top;
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    for (const value of lines) {
      svg.append(element("line", { class: "grid", x1: left, x2: width - 8, y1: y(value), y2: y(value) }));
      svg.append(element("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, show(value)));
    }
    const ticks = width < 500 ? 3 : 6;
    for (let nth = 0; nth <= ticks; nth++) {
      const moment = new Date(from + (time * nth) / ticks);
      const text = time > 2 * 86400e3
        ? moment.toLocaleDateString([], { month: "short", day: "numeric" })
        : moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...(time < 900e3 ? { second: "2-digit" } : {}) });
      const anchor = nth === 0 ? "start" : nth === ticks ? "end" : "middle";
      svg.append(element("text", { x: left + ((width - left - 8) * nth) / ticks, y: height - 4, "text-anchor": anchor }, text));
    }
    for (const { mark, values } of seen) svg.append(element("path", { class: mark, d: path(values, this.x, y) }));
    this.line = element("line", { class: "cursor", y1: 6, y2: height - 22, visibility: "hidden" });
    svg.append(this.line);
    this.canvas.replaceChildren(svg);
    this.width = width;
    this.explain();
    this.move(this.cursor !== null && this.cursor < at.length ? this.cursor : null);
  }

  explain() {
    const names = this.data.series.map(({ name }) => name).join("\n") + [...this.hidden].join("\n");
    if (names === this.explained) return;
    this.explained = names;
    this.legend.replaceChildren(...this.data.series.map(({ name, mark }) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.setAttribute("aria-pressed", String(!this.hidden.has(name)));
      button.className = mark;
      button.addEventListener("click", () => {
        if (!this.hidden.delete(name)) this.hidden.add(name);
        this.draw(this.data);
        [...this.legend.querySelectorAll("button")].find((other) => other.textContent === name)?.focus();
      });
      item.append(button);
      return item;
    }));
  }

  point(event) {
    if (!this.data || this.data.at.length === 0) return;
    const box = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) * this.width) / box.width;
    let nearest = 0;
    this.data.at.forEach((_, nth) => {
      if (Math.abs(this.x(nth) - x) < Math.abs(this.x(nearest) - x)) nearest = nth;
    });
    this.move(nearest);
  }

  move(nth) {
    this.cursor = nth;
    if (nth === null || !this.data || this.data.at.length === 0) {
      this.line?.setAttribute("visibility", "hidden");
      this.reading.textContent = "";
      return;
    }
    const { at, series, show } = this.data;
    this.line.setAttribute("x1", this.x(nth));
    this.line.setAttribute("x2", this.x(nth));
    this.line.setAttribute("visibility", "visible");
    const values = series
      .filter(({ name, values }) => !this.hidden.has(name) && values[nth] !== null)
      .map(({ name, values }) => `${name} ${show(values[nth])}`);
    this.reading.textContent = `${new Date(at[nth]).toLocaleString()}: ${values.join(" · ") || "nothing known"}`;
  }
}
