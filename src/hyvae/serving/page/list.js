// The recommendations. Rows stay where they are and change what they say, so that nothing jumps and the keyboard
// stays where it was.

import { chances } from "./charts.js";
import { at, html, say, unseen } from "./dom.js";
import { Latest, post } from "./service.js";
import { brief, decimal, spoken } from "./words.js";

const LENGTH = 10;
const SPARK = { width: 120, height: 40 };

export class List {
  lines = [];
  #rows = [];

  constructor(hub) {
    this.hub = hub;
    const { memory, model } = hub;
    at("certainty-dial").hidden = !model.knows_uncertainty;
    for (let place = 0; place < LENGTH; place += 1) this.#rows.push(this.#row(place));
    this.recommend = new Latest(hub, {
      wait: 120,
      work: (signal) => this.#work(signal),
      show: (lines) => this.#show(lines),
      refused: (error) => hub.mend(error),
    });
    for (const dial of ["diversity", "certainty"]) {
      at(dial).value = memory.dials[dial];
      at(dial).addEventListener("input", () => memory.turn(dial, at(dial).valueAsNumber));
    }
    memory.addEventListener("ratings", () => this.#ask());
    const below = ({ isIntersecting, boundingClientRect }) => !isIntersecting && boundingClientRect.top > 0;
    new IntersectionObserver(([seen]) => at("peek").classList.toggle("below", below(seen))).observe(at("list"));
    memory.addEventListener("dial", () => this.#ask());
    this.#ask();
  }

  #ask() {
    const { memory, words } = this.hub;
    this.#sayDials();
    const basis = memory.size
      ? `From your ${memory.size} rating${memory.size === 1 ? "" : "s"}, anew with each one.`
      : "What everyone likes, until you rate something.";
    say(at("basis"), memory.size && memory.size < 5 ? `${basis} A dozen ${words.many} tell a taste.` : basis);
    at("list").setAttribute("aria-busy", "true");
    this.recommend.ask();
  }

  #sayDials() {
    const { memory } = this.hub;
    const share = (value, nothing) => (value ? `${Math.round(100 * value)} %` : nothing);
    const [variety, certainty] = [share(memory.dials.diversity, "none"), share(memory.dials.certainty, "any")];
    say(at("diversity-says"), variety);
    say(at("certainty-says"), certainty);
    at("diversity").setAttribute("aria-valuetext", variety);
    at("certainty").setAttribute("aria-valuetext", certainty);
  }

  // How sure predictions are depends on the model and on how much is known of someone. So the dial goes over the
  // standard deviations of what would be recommended: all the way up, only the surest of it is left.
  async #mostDeviation(signal, ratings) {
    const { memory, model } = this.hub;
    if (!memory.dials.certainty || !model.knows_uncertainty) return null;
    const { recommendations } = await post("v1/recommend", { ratings, n: 2 * LENGTH }, signal);
    const deviations = recommendations.map(({ sd }) => sd).sort((a, b) => a - b);
    const most = deviations[Math.round((1 - memory.dials.certainty) * (deviations.length - 1))];
    return most === undefined ? null : most + 1e-6;
  }

  async #work(signal) {
    const { memory, model } = this.hub;
    const ratings = memory.asked();
    const max_sd = await this.#mostDeviation(signal, ratings);
    const wanted = { ratings, n: LENGTH, diversity: memory.dials.diversity, max_sd };
    const { recommendations: lines } = await post("v1/recommend", wanted, signal);
    if (!model.predicts_ratings || !model.knows_uncertainty || !lines.length) return lines;
    const items = lines.map(({ item }) => item);
    const { predictions } = await post("v1/predict", { ratings, items, distribution: true }, signal);
    return lines.map((line, place) => ({ ...line, distribution: predictions[place].distribution }));
  }

  #row(place) {
    const row = {
      name: html("span", { class: "name" }),
      year: html("span", { class: "year" }),
      interval: html("span", { class: "interval" }),
      chart: html("span", { class: "spark" }),
      value: html("span", { class: "value" }),
      line: null,
    };
    const open = () => this.hub.open(row.line.item, row.line.title);
    const rank = html("span", { class: "rank", "aria-hidden": "true" }, place + 1);
    const titled = html("span", { class: "titled" }, row.name, " ", row.year);
    const about = html("span", { class: "about" }, titled, " ", row.interval);
    const attributes = { type: "button", class: "row", disabled: true, click: open };
    row.button = html("button", attributes, rank, about, " ", row.chart, " ", row.value);
    row.element = html("li", { class: "waiting" }, row.button);
    at("list").append(row.element);
    return row;
  }

  #show(lines) {
    this.lines = lines;
    this.#rows.forEach((row, place) => this.#fill(row, lines[place]));
    at("list").setAttribute("aria-busy", "false");
    const empty = lines.length === 0;
    const told = this.hub.memory.dials.certainty
      ? "No prediction is that sure. Turn Certainty down, or rate more."
      : "Nothing is left to recommend.";
    say(at("nothing"), told);
    at("nothing").hidden = !empty;
    this.mark();
    const first = lines[0];
    this.#peek(first);
    const found = () => `${lines.length} recommendations. First: ${spoken(first.title)}${this.#predicted(first)}`;
    this.hub.say(empty ? told : found());
    this.hub.listed();
  }

  #predicted({ prediction }) {
    const { model, scale } = this.hub;
    return model.predicts_ratings ? `, ${decimal(prediction)} ${scale.words.many}` : "";
  }

  #fill(row, line) {
    row.element.classList.remove("waiting");
    // not hidden: an empty row keeps its place, and the page its height
    row.element.classList.toggle("empty", !line);
    row.button.disabled = !line;
    const isNew = line && row.line?.item !== line.item;
    row.line = line ?? null;
    if (!line) {
      for (const part of [row.name, row.year, row.interval, row.chart, row.value]) part.replaceChildren();
      return;
    }
    const { model, scale } = this.hub;
    const [name, year] = brief(line.title);
    say(row.name, name);
    say(row.year, year);
    const { low, high, prediction } = line;
    say(row.interval, low === null ? "" : `90 %: ${decimal(low)} to ${decimal(high)}`);
    row.chart.replaceChildren(...(line.distribution ? [chances(scale, line, SPARK)] : []));
    if (model.predicts_ratings) {
      const unit = scale.isStars ? html("span", { class: "star", "aria-hidden": "true" }, "★") : "";
      row.value.replaceChildren(decimal(prediction), unit, unseen(` ${scale.words.many} predicted`));
    } else {
      row.value.replaceChildren(unseen("score "), decimal(prediction, 2));
    }
    if (isNew && row.element.animate && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
      row.button.animate([{ opacity: 0.3 }, { opacity: 1 }], 250);
    }
  }

  // Narrow windows show the first below, until the list itself is seen.
  #peek(first) {
    at("peek").hidden = !first;
    if (!first) return;
    const { model, scale } = this.hub;
    say(at("peek-says"), brief(first.title)[0]);
    say(at("peek-value"), model.predicts_ratings ? `${decimal(first.prediction)}${scale.isStars ? " ★" : ""}` : "");
  }

  // Which one is opened beside the list.
  mark() {
    for (const { button, line } of this.#rows) {
      if (line && line.item === this.hub.opened) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }
}
