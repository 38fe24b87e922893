// The page: what its parts share, and who hears of what.

import { at, say } from "./dom.js";
import { Film } from "./film.js";
import { Finder } from "./finder.js";
import { Given } from "./given.js";
import { List } from "./list.js";
import { ItemMap } from "./map.js";
import { Memory } from "./memory.js";
import { get, keepToken, Latest, post } from "./service.js";
import { Scale } from "./stars.js";
import { count, nounFor, spoken } from "./words.js";

class Hub {
  memory = new Memory();
  words = { one: "film", many: "films" };
  opened = null;
  #ills = new Map(); // questions that failed, and what was said of them
  #asking = null;
  #saying;

  constructor() {
    // called as plain functions
    this.open = (item, title) => this.film.open(item, title);
    this.first = () => this.list?.lines[0];
    const start = new Latest(this, { work: (signal) => get("v1/model", signal), show: (model) => this.#begin(model) });
    start.ask();
  }

  #begin(model) {
    this.model = model;
    this.scale = new Scale(model);
    for (const element of document.querySelectorAll("[data-scale]")) {
      say(element, this.scale.words[element.dataset.scale]);
    }
    say(at("digits"), Math.min(9, this.scale.high));
    document.querySelector(".keys").hidden = !this.scale.isStars;
    const check = new Latest(this, {
      work: (signal) => this.#titles(signal),
      show: (titles) => {
        this.#forgetOthers(titles);
        this.#parts();
      },
      refused: (error) => this.mend(error) && (check.ask(), true),
    });
    if (this.memory.size) check.ask();
    else this.#parts();
  }

  #parts() {
    this.given = new Given(this);
    this.film = new Film(this);
    this.list = new List(this);
    this.finder = new Finder(this);
    this.map = new ItemMap(this);
    this.#about();
  }

  // Ids say little: another run may answer here now, and call something else by the same id.
  async #titles(signal) {
    const allow = this.memory.entries().map(([item]) => item).slice(0, 500);
    const wanted = { ratings: [], allow, n: Math.max(1, allow.length), include_seen: true };
    const { recommendations } = await post("v1/recommend", wanted, signal);
    return new Map(recommendations.map(({ item, title }) => [item, title]));
  }

  #forgetOthers(titles) {
    const gone = this.memory.keepOnly(
      (item, title, rating) => this.scale.takes(rating) && (titles.get(item) ?? title) === title,
    );
    if (gone.length) this.say(`Not of this catalogue, and left out: ${gone.map(spoken).join(", ")}`, true);
  }

  // A rating that the model refuses is taken out, and the rest asked again.
  mend(error, without) {
    const place = /^(?:ratings|allow)\.(\d+)\b/.exec(error.errors[0]?.field ?? "")?.[1];
    if (place === undefined) return false;
    const bad = this.memory.asked(without)[place]?.item;
    const [title] = this.memory.keepOnly((item) => item !== bad);
    if (title !== undefined) this.say(`Not known to this model, and left out: ${spoken(title)}`, true);
    return title !== undefined;
  }

  named(items) {
    this.words = nounFor(items.map(({ title }) => title));
    for (const element of document.querySelectorAll("[data-noun]")) {
      const word = this.words[element.dataset.noun.toLowerCase()];
      say(element, element.dataset.noun === "Many" ? word[0].toUpperCase() + word.slice(1) : word);
    }
    this.#about();
  }

  #about() {
    const { users, items, ratings, model, preset } = this.model;
    const name = [model, preset].filter(Boolean).join(", ");
    const sizes = `${count(ratings)} ratings of ${count(items)} ${this.words.many} by ${count(users)} people`;
    say(at("about"), `${name}: learned from ${sizes}.`);
  }

  ratingsOf(item) {
    return this.map?.ratingsOf(item) ?? null;
  }

  listed() {
    this.film.follow(this.list.lines[0]);
    this.map.start();
    this.map.draw();
  }

  turned(item) {
    this.opened = item;
    this.list?.mark();
  }

  mapped() {
    this.film.mapped();
  }

  // For screen readers, or, where it matters to all, shown as well.
  say(text, shown = false) {
    clearTimeout(this.#saying);
    // what is said too quickly is talked over by the next
    this.#saying = setTimeout(() => say(at("says"), text), shown ? 0 : 400);
    if (shown) {
      this.ill(this, text);
      setTimeout(() => this.well(this), 8000);
    }
  }

  ill(who, message) {
    this.#ills.set(who, message);
    this.#tell();
  }

  well(who) {
    if (this.#ills.delete(who)) this.#tell();
  }

  #tell() {
    const last = [...this.#ills.values()].at(-1) ?? "";
    say(at("notice"), last);
    at("notice").hidden = !last;
  }

  // One form, however many questions wait for the token; whether one was given.
  token() {
    this.#asking ??= new Promise((resolve) => {
      const dialog = at("token-dialog");
      let given = false;
      const submitted = (event) => {
        event.preventDefault();
        given = true;
        keepToken(at("token").value.trim());
        dialog.close();
      };
      at("token-form").addEventListener("submit", submitted, { once: true });
      const closed = () => {
        at("token-form").removeEventListener("submit", submitted);
        at("token").value = "";
        // if it is asked for again
        say(at("token-hint"), "That token was not taken. Whoever runs the service has one.");
        this.#asking = null;
        resolve(given);
      };
      dialog.addEventListener("close", closed, { once: true });
      dialog.showModal();
    });
    return this.#asking;
  }
}

new Hub();
