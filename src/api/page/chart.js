// Lines over time: small ones without axes, and large ones with a cross-hair. A gap in what is known is a gap in the line.

import { h, say, svg } from "./dom.js";

const SPARK = { width: 120, height: 20 };

/** A small line with its area. `show(values, least)`: not-a-number is a gap; the scale ends at `least` or higher. */
export function sparkline(label) {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line" });
  const { width, height } = SPARK;
  const node = svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none",
    role: "img", "aria-label": label }, area, line);
  let drawn = "";
  return {
    node,
    show(values, least) {
      if (values === undefined) return;
      const top = values.reduce((high, value) => (value > high ? value : high), least);
      const x = (index) => (index / (values.length - 1)) * width;
      const y = (value) => height - 1 - (value / top) * (height - 3);
      const points = Array.from(values, (value, index) => (Number.isNaN(value) ? null : [x(index), y(value)]));
      const text = path(points);
      if (text === drawn) return;
      drawn = text;
      line.setAttribute("d", text);
      area.setAttribute("d", under(points, height));
    },
  };
}

/** Runs of points without a gap. */
export function runs(points) {
  const found = [[]];
  for (const point of points) {
    if (point === null) found.push([]);
    else found.at(-1).push(point);
  }
  return found.filter((run) => run.length > 0);
}

const at = ([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`;

/** A point between two gaps becomes a dash, or nobody would see it. */
function path(points) {
  return runs(points).map((run) => `M${run.map(at).join("L")}${run.length === 1 ? "h1" : ""}`).join("");
}

function under(points, floor) {
  const close = (run) => `M${run.map(at).join("L")}V${floor}H${run[0][0].toFixed(1)}Z`;
  return runs(points).map(close).join("");
}

/** Between the averages and the maxima. */
function between(low, high) {
  const rest = [...runs(low)];
  return runs(high).map((run, index) => `M${[...run, ...rest[index].toReversed()].map(at).join("L")}Z`).join("");
}

const FRAME = { left: 66, right: 8, top: 8, bottom: 20, height: 170 };

/**
 * A chart of one number over a range of time. `series`: `{from, to, step (s), t: [ms], avg, max}`; `unit` writes a value.
 * `point(ms)` hears where the reader points (null: nowhere); `mark(ms)` shows it on charts beside it too.
 */
export class Chart {
  #series = null;
  #scale = null;
  #marks = [];
  #pointed = null;

  constructor({ title, unit, least, point, pick }) {
    Object.assign(this, { unit, least, point, pick });
    this.readout = h("output", { class: "readout" });
    this.plot = svg("svg", { class: "plot", role: "img", tabindex: "0", "aria-label": title });
    this.node = h("figure", { class: "chart" },
      h("figcaption", {}, h("h3", {}, title), this.readout), this.plot);
    this.title = title;
    this.plot.addEventListener("pointermove", (event) => this.point(this.#time(event.offsetX)));
    this.plot.addEventListener("pointerleave", () => this.point(null));
    this.plot.addEventListener("keydown", (event) => this.#key(event));
    this.watcher = new ResizeObserver(() => this.#draw());
    this.watcher.observe(this.plot);
  }

  close() {
    this.watcher.disconnect();
  }

  /** `marks`: `[{ms, kind, text, target}]`, kind one of start, end, error, alert. */
  show(series, marks) {
    this.#series = series;
    this.#marks = marks;
    this.#draw();
  }

  #time(x) {
    if (this.#scale === null) return null;
    const { from, to, width } = this.#scale;
    const part = (x - FRAME.left) / width;
    return part < 0 || part > 1 ? null : from + part * (to - from);
  }

  #key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (steps === undefined || this.#series === null) return;
    event.preventDefault();
    const { to, step, from } = this.#series;
    const start = this.#pointed ?? to - step * 1000;
    this.point(Math.min(to - 1, Math.max(from, start + steps * step * 1000)));
  }

  #draw() {
    const width = this.plot.clientWidth - FRAME.left - FRAME.right;
    if (this.#series === null || width <= 0) return;
    const { from, to, t, avg, max, step } = this.#series;
    const top = round(max.reduce((high, value) => Math.max(high, value ?? 0), this.least));
    this.#scale = { from, to, width, top };
    const floor = FRAME.height - FRAME.bottom;
    const x = (ms) => FRAME.left + ((ms - from) / (to - from)) * width;
    const y = (value) => floor - (value / top) * (floor - FRAME.top);
    const points = (values) => values.map((value, index) =>
      (value === null ? null : [Math.min(x(t[index] + step * 500), FRAME.left + width), y(value)]));
    const [low, high] = [points(avg), points(max)];
    const holes = gaps(this.#series).map(([start, end]) => svg("rect", { class: "gap", x: x(start).toFixed(1),
      y: FRAME.top, width: Math.max(1, x(end) - x(start)).toFixed(1), height: floor - FRAME.top }));
    const levels = [0, top / 2, top].flatMap((value) => [
      svg("line", { class: "grid", x1: FRAME.left, x2: FRAME.left + width, y1: y(value), y2: y(value) }),
      svg("text", { class: "label y", x: FRAME.left - 8, y: y(value) + 4 }, this.unit(value).replace(".0 ", " ")),
    ]);
    const times = ticks(from, to, Math.max(2, Math.floor(width / 84))).map(([ms, text]) =>
      svg("text", { class: "label x", x: x(ms).toFixed(1), y: FRAME.height - 4 }, text));
    const marks = this.#marks.filter(({ ms }) => ms >= from && ms <= to).map(({ ms, kind, text, target }) =>
      svg("g", { class: `mark ${kind}`, onclick: () => this.pick(target) }, svg("title", {}, text),
        svg("line", { x1: x(ms).toFixed(1), x2: x(ms).toFixed(1), y1: FRAME.top, y2: floor }),
        svg("path", { d: SHAPE[kind](x(ms), floor) })));
    this.hair = svg("line", { class: "hair", y1: FRAME.top, y2: floor, visibility: "hidden" });
    this.plot.setAttribute("viewBox", `0 0 ${width + FRAME.left + FRAME.right} ${FRAME.height}`);
    this.plot.replaceChildren(...holes, ...levels, ...times,
      svg("path", { class: "band", d: between(low, high) }),
      svg("path", { class: "area", d: under(low, floor) }),
      svg("path", { class: "line", d: path(low) }), ...marks, this.hair);
    const last = max.findLast((value) => value !== null);
    const peak = Math.max(...max.filter((value) => value !== null));
    const summary = last === undefined ? "nothing known" : `last ${this.unit(last)}, highest ${this.unit(peak)}`;
    this.plot.setAttribute("aria-label", `${this.title}: ${summary}. Arrow keys read single points.`);
    this.summary = last === undefined ? "nothing known in this time" : summary;
    this.mark(this.#pointed);
  }

  /** Shows the cross-hair at a time, and says what is known there. */
  mark(ms) {
    this.#pointed = ms;
    if (this.#series === null || this.#scale === null) return;
    const { from, to, width } = this.#scale;
    const pointed = ms !== null && ms >= from && ms < to;
    this.hair.setAttribute("visibility", pointed ? "visible" : "hidden");
    if (!pointed) return say(this.readout, this.summary);
    const x = FRAME.left + ((ms - from) / (to - from)) * width;
    this.hair.setAttribute("x1", x);
    this.hair.setAttribute("x2", x);
    const { t, avg, max, step } = this.#series;
    const index = t.findLastIndex((start) => start <= ms);
    const [mean, most] = [avg[index] ?? null, max[index] ?? null];
    const clock = new Date(t[index] ?? ms).toLocaleString([], { month: "short", day: "numeric", hour: "2-digit",
      minute: "2-digit", ...(step < 60 && { second: "2-digit" }) });
    const told = mean === null ? "not observed"
      : this.unit(mean) + (most > mean ? `, at most ${this.unit(most)}` : "");
    say(this.readout, `${clock}  ${told}`);
  }
}

const SHAPE = {
  start: (x, y) => `M${x - 4},${y}h8l-4,-7z`,
  end: (x, y) => `M${x - 4},${y - 7}h8v7h-8z`,
  error: (x, y) => `M${x - 4},${y - 7}l8,7m0,-7l-8,7`,
  alert: (x, y) => `M${x},${y - 9}l5,5l-5,5l-5,-5z`,
};

/** Where nothing was observed, as pairs of times. */
function gaps({ t, avg, step }) {
  const found = [];
  t.forEach((start, index) => {
    if (avg[index] !== null) return;
    if (found.at(-1)?.[1] === start) found.at(-1)[1] = start + step * 1000;
    else found.push([start, start + step * 1000]);
  });
  return found;
}

/** The next number that reads well: 1, 2, 4 or 5 and zeros. */
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((step) => step * power).find((step) => step >= value);
}

const MINUTE = 60_000;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 4320, 7200, 14400].map((minutes) => minutes * MINUTE);

/** Times to write below, at most so many, at full local minutes, hours or days. */
function ticks(from, to, most) {
  const step = STEPS.find((size) => (to - from) / size <= most) ?? STEPS.at(-1);
  const zone = new Date(to).getTimezoneOffset() * MINUTE;
  // A day's name at its beginning; with less than a day between two of them, the time at the others.
  const write = (ms) => new Date(ms).toLocaleString([], (ms - zone) % (1440 * MINUTE) === 0
    ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit", hour12: false });
  const found = [];
  for (let ms = Math.ceil((from - zone) / step) * step + zone; ms < to; ms += step) found.push([ms, write(ms)]);
  return found;
}

/** Samples, newest first, as a series with a point for each `step` seconds. */
export function bucketed(samples, { from, to, step }, value) {
  const first = Math.floor(from / 1000 / step);
  const length = Math.ceil(to / 1000 / step) - first;
  const sums = Array.from({ length }, () => ({ sum: 0, number: 0, max: null }));
  for (const sample of samples) {
    const bucket = sums[Math.floor(Date.parse(sample.timestamp) / 1000 / step) - first];
    const number = value(sample);
    if (bucket === undefined || number === null) continue;
    bucket.sum += number;
    bucket.number += 1;
    bucket.max = Math.max(bucket.max ?? number, number);
  }
  return {
    from, to, step,
    t: sums.map((_, index) => (first + index) * step * 1000),
    avg: sums.map(({ sum, number }) => (number === 0 ? null : sum / number)),
    max: sums.map(({ max }) => max),
  };
}
