// What someone rated, the latest first: each can be opened, to change it, or taken back.

import { at, html, say, unseen } from "./dom.js";
import { brief, count, spoken } from "./words.js";

export class Given {
  constructor(hub) {
    this.hub = hub;
    hub.memory.addEventListener("ratings", () => this.#show());
    at("clear").addEventListener("click", () => {
      hub.memory.clear();
      hub.say("All your ratings are cleared");
      at("yours-heading").focus();
    });
    this.#show();
  }

  #show() {
    const { memory, scale, open } = this.hub;
    say(at("count"), memory.size ? count(memory.size) : "");
    at("clear").disabled = memory.size === 0;
    const rows = memory.entries().reverse().map(([item, { title, rating }]) => {
      const name = spoken(title);
      const change = { type: "button", class: "title", click: () => open(item, title) };
      const [called, year] = brief(title);
      const remove = {
        type: "button",
        class: "remove",
        "aria-label": `Remove your rating of ${name}`,
        click: (event) => this.#remove(event, item, title),
      };
      const mark = html("span", { "aria-hidden": "true" }, scale.mark(rating));
      return html(
        "li",
        {},
        html("button", change, html("span", { class: "name" }, called), " ", html("span", { class: "year" }, year)),
        html("span", { class: "rating" }, unseen(scale.says(rating)), mark),
        html("button", remove, "×"),
      );
    });
    at("given").replaceChildren(...rows);
  }

  // The keyboard goes on at the row that takes this one's place.
  #remove(event, item, title) {
    const row = event.currentTarget.closest("li");
    const place = [...row.parentElement.children].indexOf(row);
    this.hub.memory.rate(item, title, null);
    this.hub.say(`Removed: ${spoken(title)}`);
    const rows = at("given").children;
    (rows[Math.min(place, rows.length - 1)]?.querySelector(".remove") ?? at("yours-heading")).focus();
  }
}
