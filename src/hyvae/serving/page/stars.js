// The control with which something is rated: a group of radio buttons that look like stars, or, for scales that
// stars do not fit, a menu or a number.

import { html } from "./dom.js";
import { short } from "./words.js";

const MOST_STARS = 10;
let groups = 0;

export class Scale {
  constructor({ scale: [low, high], levels }) {
    Object.assign(this, { low, high, levels });
    const halves = levels.every((level) => Number.isInteger(2 * level));
    const whole = levels.every(Number.isInteger);
    const fits = whole ? high <= MOST_STARS : high <= MOST_STARS / 2;
    this.isStars = levels.length > 1 && levels[0] > 0 && levels.at(-1) === high && halves && fits;
    this.words = this.isStars ? { one: "star", many: "stars" } : { one: "point", many: "points" };
  }

  // as it is written beside a title: "4.5 ★"
  mark(value) {
    return `${short(value)}${this.isStars ? " ★" : ""}`;
  }

  says(value) {
    return `${short(value)} ${value === 1 ? this.words.one : this.words.many}`;
  }

  takes(rating) {
    return rating >= this.low && rating <= this.high;
  }

  // what a digit key stands for: that many stars
  digit(key) {
    const rating = Number(key);
    return /^[1-9]$/.test(key) && this.levels.includes(rating) ? rating : null;
  }
}

// For rating what is called `name`; `rated` is told the new rating, or null when it is taken back.
export function control(scale, name, rated) {
  const label = `Your rating of ${name}`;
  const kind = scale.isStars ? stars : scale.levels.length ? menu : field;
  const inner = kind(scale, label, rated);
  const back = () => {
    rated(null);
    inner.focus();
  };
  const attributes = { type: "button", class: "remove", "aria-label": `Remove your rating of ${name}`, click: back };
  const remove = html("button", attributes, "×");
  const show = (value) => {
    inner.show(value);
    remove.hidden = value === null;
  };
  return { element: html("div", { class: "control" }, inner.element, remove), show, focus: inner.focus };
}

function stars(scale, label, rated) {
  groups += 1;
  const inputs = new Map();
  const name = `rating-${groups}`;
  const kind = scale.high > 5 ? "stars many" : "stars";
  const group = html("div", { class: kind, role: "radiogroup", "aria-label": label });
  for (let star = 1; star <= scale.high; star += 1) {
    const halves = [star - 0.5, star].filter((level) => scale.levels.includes(level));
    if (!halves.length) group.append(html("span", { class: "full" }));
    for (const level of halves) {
      const input = html("input", { type: "radio", name, value: level, "aria-label": scale.says(level) });
      input.addEventListener("change", () => rated(level));
      inputs.set(level, input);
      // the part of its star that it shows
      const part = halves.length === 1 ? "full" : level < star ? "left" : "right";
      group.append(html("label", { class: part }, input));
    }
  }
  group.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const level = scale.digit(event.key);
    if (level !== null) {
      inputs.get(level).focus();
      inputs.get(level).checked = true;
      rated(level);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      rated(null);
    } else {
      return;
    }
    event.preventDefault();
  });
  const show = (value) => inputs.forEach((input, level) => (input.checked = level === value));
  const focus = () => ([...inputs.values()].find((input) => input.checked) ?? inputs.get(scale.levels[0])).focus();
  return { element: group, show, focus };
}

function menu(scale, label, rated) {
  const select = html("select", { "aria-label": label }, html("option", { value: "" }, "–"));
  for (const level of scale.levels) select.append(html("option", { value: level }, short(level)));
  select.addEventListener("change", () => rated(select.value === "" ? null : Number(select.value)));
  return { element: select, show: (value) => (select.value = value ?? ""), focus: () => select.focus() };
}

function field(scale, label, rated) {
  const { low, high } = scale;
  const says = `${label}, ${short(low)} to ${short(high)}`;
  const input = html("input", { type: "number", min: low, max: high, step: "any", "aria-label": says });
  input.placeholder = `${short(low)} to ${short(high)}`;
  input.addEventListener("change", () => {
    if (input.value === "") rated(null);
    else if (scale.takes(input.valueAsNumber)) rated(input.valueAsNumber);
    else input.reportValidity();
  });
  return { element: input, show: (value) => (input.value = value ?? ""), focus: () => input.focus() };
}
