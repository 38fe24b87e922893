// Finding what one knows, and rating it: the most rated, a few at a time, or what a typed title brings.

import { at, html, say } from "./dom.js";
import { get, Latest } from "./service.js";
import { control } from "./stars.js";
import { brief, spoken } from "./words.js";

// narrow windows have the recommendations below, not beside
const SHOWN = matchMedia("(max-width: 759px)").matches ? 5 : 8;
const POPULAR = 100;

export class Finder {
  #rows = []; // {item, control} of what is shown
  #popular = [];
  #offered = []; // of these
  #searching = false;
  #entered = false; // before the answer came, which the keyboard then goes to

  constructor(hub) {
    this.hub = hub;
    const { memory } = hub;
    const address = (query, limit) => `v1/items?${new URLSearchParams({ query, limit })}`;
    this.popular = new Latest(hub, {
      work: (signal) => get(address("", POPULAR), signal),
      show: ({ items }) => {
        this.#popular = items;
        hub.named(items);
        this.#offer(0);
        if (!at("query").value.trim()) this.#showPopular();
      },
    });
    this.search = new Latest(hub, {
      wait: 150,
      work: (signal, query) => get(address(query, SHOWN), signal),
      show: ({ items }, query) => this.#showFound(items, query),
    });
    at("query").addEventListener("input", () => this.#typed());
    at("query").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "ArrowDown") return;
      event.preventDefault();
      if (this.#searching) this.#entered = true;
      else this.#rows[0]?.control.focus();
    });
    at("others").addEventListener("click", () => {
      this.#offer(this.#popular.indexOf(this.#offered.at(-1)) + 1);
      this.#showPopular();
    });
    memory.addEventListener("ratings", () => this.#refresh());
    this.popular.ask();
  }

  #typed() {
    const query = at("query").value.trim();
    this.#searching = query !== "";
    this.#entered = false;
    if (query) {
      this.search.ask(query);
    } else {
      this.search.cancel();
      this.#showPopular();
    }
  }

  // The next few that are not rated yet; the first ones again after the last.
  #offer(from) {
    const free = this.#popular.slice(from).filter(({ item }) => this.hub.memory.of(item) === null);
    this.#offered = (free.length ? free : this.#popular).slice(0, SHOWN);
  }

  #showPopular() {
    say(at("found-heading"), "Rated most");
    at("others").hidden = this.#popular.length <= SHOWN;
    this.#show(this.#offered);
  }

  #showFound(items, query) {
    at("others").hidden = true;
    const found = items.length ? `Found for “${query}”` : `Nothing is called “${query}”`;
    say(at("found-heading"), found);
    this.hub.say(items.length ? `${items.length} found` : found);
    this.#show(items);
    this.#searching = false;
    if (this.#entered) this.#rows[0]?.control.focus();
    this.#entered = false;
  }

  #show(items) {
    const { memory, scale, open } = this.hub;
    this.#rows = items.map(({ item, title }) => {
      const own = control(scale, spoken(title), (rating) => memory.rate(item, title, rating));
      return { item, title, control: own };
    });
    at("found").replaceChildren(
      ...this.#rows.map(({ item, title, control: own }) => {
        const [name, year] = brief(title);
        const says = [html("span", { class: "name" }, name), " ", html("span", { class: "year" }, year)];
        const attributes = { type: "button", class: "title", click: () => open(item, title) };
        return html("li", {}, html("button", attributes, ...says), own.element);
      }),
    );
    this.#refresh();
  }

  #refresh() {
    for (const { item, control: own } of this.#rows) own.show(this.hub.memory.of(item));
  }
}
