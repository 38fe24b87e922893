// Charts: how likely each rating is, and bars for what is added and taken away.

import { html, svg } from "./dom.js";
import { decimal, percent, short } from "./words.js";

// Bars of a distribution over the rating scale, the interval below them and the prediction in it. Small ones stand
// in lists, beside the same numbers in words; a large one has an axis.
export function chances(scale, { distribution, low, high, prediction }, { width, height, axis = false }) {
  const bottom = axis ? 34 : 8;
  const side = axis ? 18 : 6; // half a bar, and room for what is written over the last
  const levels = Object.entries(distribution ?? {})
    .map(([level, share]) => [Number(level), share])
    .sort(([a], [b]) => a - b);
  const x = (value) => side + ((value - scale.low) / (scale.high - scale.low)) * (width - 2 * side);
  const most = Math.max(...levels.map(([, share]) => share), 0);
  const gaps = levels.slice(1).map(([level], k) => level - levels[k][0]);
  const bar = Math.max(1.5, 0.72 * (x(scale.low + Math.min(...gaps, 1)) - x(scale.low)));
  const base = height - bottom;
  const room = base - (axis ? 16 : 2);
  const viewBox = `0 0 ${width} ${height}`;
  const drawing = svg("svg", { class: "chances", viewBox, width, height, "aria-hidden": "true" });
  for (const [level, share] of levels) {
    const tall = Math.max(1, (share / most) * room);
    const likely = low === null || (level >= low && level <= high) ? "likely" : "unlikely";
    const place = { x: x(level) - bar / 2, y: base - tall, width: bar, height: tall };
    drawing.append(svg("rect", { class: likely, rx: 1, ...place }));
    if (axis && share === most) {
      drawing.append(svg("text", { class: "top", x: x(level), y: base - tall - 4 }, percent(share)));
    }
  }
  const line = base + (axis ? 8 : 5);
  if (low !== null) {
    drawing.append(svg("line", { class: "track", x1: side, x2: width - side, y1: line, y2: line }));
    drawing.append(svg("line", { class: "interval", x1: x(low), x2: x(high), y1: line, y2: line }));
    drawing.append(svg("circle", { class: "prediction", cx: x(prediction), cy: line, r: axis ? 4.5 : 3 }));
  }
  if (axis) {
    const whole = levels.filter(([level]) => Number.isInteger(level));
    for (const [level] of whole.length > 1 ? whole : levels) {
      drawing.append(svg("text", { x: x(level), y: height - 6 }, short(level)));
    }
  }
  return drawing;
}

// The same in words, for who cannot see it.
export function chancesTable(scale, distribution) {
  const rows = Object.entries(distribution)
    .map(([level, share]) => [Number(level), share])
    .sort(([a], [b]) => b - a)
    .map(([level, share]) => [html("th", { scope: "row" }, scale.says(level)), html("td", {}, percent(share))])
    .map((cells) => html("tr", {}, ...cells));
  return html("table", { class: "hidden" }, html("caption", {}, "Chance of each rating"), html("tbody", {}, ...rows));
}

// A bar to the right of the middle for what is added, to the left for what is taken away.
export function change(value, most) {
  const bar = html("span", { class: value < 0 ? "down" : "up" });
  bar.style.width = `${decimal((50 * Math.abs(value)) / (most || 1), 2)}%`;
  return html("span", { class: "change", "aria-hidden": "true" }, bar);
}
