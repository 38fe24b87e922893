// One item, opened: its prediction and how sure it is, the reasons, what each branch says, and a control to rate it.
// Wide windows show it beside the list, narrow ones in a sheet over the page.

import { chances, chancesTable, change } from "./charts.js";
import { at, html, say, unseen } from "./dom.js";
import { get, Latest, post } from "./service.js";
import { control } from "./stars.js";
import { brief, count, decimal, nameAndYear, short, signed, spoken } from "./words.js";

const CHART = { width: 340, height: 124, axis: true };
const REASONS = 5;
const WIDE = matchMedia("(min-width: 1200px)");

export class Film {
  item = null;
  #own = null;
  #chosen = false; // by a person; until then it follows the top of the list

  constructor(hub) {
    this.hub = hub;
    const { model, memory } = hub;
    this.predict = new Latest(hub, {
      work: async (signal, item) => {
        const more = { distribution: model.knows_uncertainty, branches: model.has_branches };
        const wanted = { ratings: memory.asked(item), items: [item], ...more };
        return (await post("v1/predict", wanted, signal)).predictions[0];
      },
      show: (prediction) => this.#showPrediction(prediction),
      refused: (error, item) => hub.mend(error, item),
    });
    this.explain = new Latest(hub, {
      // the costliest question waits until nothing more is being changed
      wait: 250,
      work: (signal, item) => post("v1/explain", { ratings: memory.asked(item), item, n: REASONS }, signal),
      show: ({ reasons }) => this.#showReasons(reasons),
      refused: (error, item) => hub.mend(error, item),
    });
    this.alike = new Latest(hub, {
      work: (signal, item) => get(`v1/items/${encodeURIComponent(item)}/similar?limit=8`, signal),
      show: ({ items }) => this.#showAlike(items),
    });
    at("branches").hidden = !model.has_branches;
    at("chances").hidden = !model.knows_uncertainty;
    at("because").hidden = at("predicted").hidden = !model.predicts_ratings;
    at("alike").hidden = model.predicts_ratings;
    memory.addEventListener("ratings", () => this.item !== null && this.#ask());
    at("close").addEventListener("click", () => at("sheet").close());
    at("sheet").addEventListener("close", () => this.#put());
    at("sheet").addEventListener("click", (event) => event.target === at("sheet") && at("sheet").close());
    WIDE.addEventListener("change", () => {
      at("sheet").close();
      this.#put();
    });
    this.#put();
  }

  // Opened by a person.
  open(item, title) {
    this.#chosen = true;
    this.#turnTo(item, title);
    if (WIDE.matches) {
      at("side").scrollTop = 0;
      this.hub.say(`${spoken(title)} is opened beside the list`);
    } else if (!at("sheet").open) {
      at("sheet").append(at("film"));
      at("close").hidden = false;
      at("sheet").showModal();
      at("sheet").scrollTop = 0;
    }
  }

  // What stands first, where nobody chose: wide windows have room to show at once what there is to see.
  follow(line) {
    if (!this.#chosen && line && WIDE.matches && line.item !== this.item) this.#turnTo(line.item, line.title);
  }

  // The map came, which knows from how many ratings each is known.
  mapped() {
    if (this.item !== null) this.#sayKnown();
  }

  #put() {
    at("side").append(at("film"));
    at("close").hidden = true;
    at("side").hidden = !WIDE.matches;
    if (WIDE.matches) this.follow(this.hub.first());
  }

  #turnTo(item, title) {
    const same = item === this.item;
    this.item = item;
    if (!same) {
      const [name, year] = nameAndYear(title);
      at("film-heading").replaceChildren(name, ...(year ? [" ", html("span", { class: "year" }, year)] : []));
      this.#own = control(this.hub.scale, spoken(title), (rating) => this.hub.memory.rate(item, title, rating));
      at("own").replaceChildren(this.#own.element);
      this.#ask();
    }
    this.hub.turned(item);
  }

  #ask() {
    const { memory, model } = this.hub;
    const own = memory.of(this.item);
    this.#own.show(own);
    say(at("own-label"), own === null ? "Know it? Rate it" : `You rated it ${short(own)}`);
    this.#sayKnown();
    if (!model.predicts_ratings) {
      this.alike.ask(this.item);
      return;
    }
    at("film").setAttribute("aria-busy", "true");
    this.predict.ask(this.item);
    const others = memory.asked(this.item).length;
    if (others >= 2) {
      this.explain.ask(this.item);
    } else {
      this.explain.cancel();
      const missing = 2 - others;
      const { one, many } = this.hub.words;
      const wanted = missing === 2 ? `two ${many}` : `one more ${one}`;
      const more = `Rate ${wanted}, and here stands what speaks for it and what against.`;
      at("reasons").replaceChildren(html("p", { class: "hint" }, more));
    }
  }

  #sayKnown() {
    const known = this.hub.ratingsOf(this.item);
    const from = known === null ? "" : `${count(known)} ratings`;
    const without = this.hub.memory.of(this.item) === null ? "" : "predicted without yours";
    say(at("film-known"), [from, without].filter(Boolean).join("; "));
  }

  #showPrediction(line) {
    const { scale } = this.hub;
    at("film").setAttribute("aria-busy", "false");
    const { prediction, low, high, distribution, branches } = line;
    const unit = scale.isStars ? html("span", { class: "star", "aria-hidden": "true" }, " ★") : "";
    at("value").replaceChildren(decimal(prediction), unit, unseen(` ${scale.words.many} predicted`));
    say(at("interval"), low === null ? "predicted" : `predicted; 90 %: ${decimal(low)} to ${decimal(high)}`);
    if (distribution) at("chart").replaceChildren(chances(scale, line, CHART), chancesTable(scale, distribution));
    at("chances").hidden = !distribution;
    if (branches) at("parts").replaceChildren(this.#branches(branches, prediction));
  }

  // A sum, line by line: where it starts, what each branch adds, what comes of it.
  #branches({ effects, variational, deterministic, draws }, prediction) {
    const most = Math.max(Math.abs(variational), Math.abs(deterministic), 0.25);
    const row = (name, value, bar = null, kind = "") => {
      const cells = [html("th", { scope: "row" }, name), html("td", { class: "bar" }, bar), html("td", {}, value)];
      return html("tr", { class: kind }, ...cells);
    };
    const sum = (name, value) => row(name, decimal(value, 2), null, "sum");
    const network = effects + variational + deterministic;
    const rows = [
      row("Averages: all, yours, its own", decimal(effects, 2)),
      row("Variational branch", signed(variational), change(variational, most)),
      row("Deterministic branch", signed(deterministic), change(deterministic, most)),
    ];
    if (draws === null) {
      rows.push(sum("Together", prediction));
    } else {
      rows.push(sum("The network says", network), row("Draws beside it say", decimal(draws, 2)));
      rows.push(sum("Together", prediction));
    }
    const label = `How the prediction comes about, in ${this.hub.scale.words.many}`;
    return html("table", { class: "parts", "aria-label": label }, html("tbody", {}, ...rows));
  }

  #showReasons(reasons) {
    const { scale } = this.hub;
    const most = Math.max(...reasons.map(({ effect }) => Math.abs(effect)), 0.01);
    const rows = reasons.map(({ title, rating, effect }) => {
      const name = html("span", { class: "name" }, brief(title)[0]);
      const rated = html("span", { class: "reason" }, name, " ", html("span", { class: "rating" }, scale.mark(rating)));
      return html(
        "tr",
        {},
        html("th", { scope: "row" }, rated),
        html("td", { class: "bar" }, change(effect, most)),
        html("td", { class: effect < 0 ? "worse" : "better" }, signed(effect)),
      );
    });
    const label = `Your ratings that move this prediction most, in ${scale.words.many}`;
    const table = html("table", { class: "parts", "aria-label": label }, html("tbody", {}, ...rows));
    at("reasons").replaceChildren(table);
  }

  #showAlike(items) {
    const rows = items.map(({ item, title }) => {
      const attributes = { type: "button", class: "title", click: () => this.open(item, title) };
      return html("li", {}, html("button", attributes, html("span", { class: "name" }, spoken(title))));
    });
    at("alike-list").replaceChildren(...rows);
  }
}
