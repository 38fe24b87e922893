// The map of the items: a canvas that pointer and keyboard walk over, with the title of where they are.

import { at, say } from "./dom.js";
import { get, Latest } from "./service.js";
import { brief, count, short, spoken } from "./words.js";

const REACH = 24; // pixels from the pointer at which a dot is still meant
const LABELS = 40; // of the most rated, as far as there is room
const MARGIN = 16;
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const overlap = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

export class ItemMap {
  places = [];
  #dots = []; // where each place is drawn: {x, y, r}
  #here = -1;
  #started = false;
  #byItem = new Map();
  #colours = {};

  constructor(hub) {
    this.hub = hub;
    const map = at("map");
    this.load = new Latest(hub, {
      work: (signal) => get("v1/map", signal),
      show: ({ items }) => this.#show(items),
      // a run that has no map has all the rest
      refused: (error) => (say(at("map-wait"), error.message), true),
    });
    new ResizeObserver(() => this.#layOut()).observe(map);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#recolour());
    this.#recolour();
    map.addEventListener("pointermove", (event) => this.#go(this.#near(event)));
    map.addEventListener("pointerleave", () => this.#go(-1));
    map.addEventListener("click", (event) => this.#open(this.#near(event)));
    map.addEventListener("keydown", (event) => this.#key(event));
    map.addEventListener("blur", () => this.#go(-1));
    hub.memory.addEventListener("ratings", () => this.draw());
  }

  // It is the first thing that the service computes slowly: the list goes first.
  start() {
    if (!this.#started) this.load.ask();
    this.#started = true;
  }

  ratingsOf(item) {
    return this.places[this.#byItem.get(item)]?.ratings ?? null;
  }

  #show(items) {
    this.places = items;
    this.#byItem = new Map(items.map(({ item }, place) => [item, place]));
    at("map-wait").hidden = true;
    at("map").setAttribute("aria-label", `Map of ${count(items.length)} ${this.hub.words.many}`);
    this.#layOut();
    this.hub.mapped();
  }

  #layOut() {
    const canvas = at("canvas");
    const { clientWidth: width, clientHeight: height } = at("map");
    const dense = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
    canvas.getContext("2d").setTransform(dense, 0, 0, dense, 0, 0);
    const most = this.places[0]?.ratings || 1;
    const size = Math.max(0.6, Math.min(1, width / 600));
    this.#dots = this.places.map(({ x, y, ratings }) => ({
      x: MARGIN + ((x + 1) / 2) * (width - 2 * MARGIN),
      y: MARGIN + ((1 - y) / 2) * (height - 2 * MARGIN),
      r: size * (1.2 + 4 * Math.sqrt(ratings / most)),
    }));
    this.draw();
  }

  #recolour() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["card", "ink", "muted", "dot", "model", "bias"]) {
      this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    this.#colours.font = getComputedStyle(document.body).fontFamily;
    this.draw();
  }

  draw() {
    const { memory, list } = this.hub;
    const canvas = at("canvas");
    const paper = canvas.getContext("2d");
    const colours = this.#colours;
    paper.clearRect(0, 0, canvas.width, canvas.height);
    const recommended = new Set((list?.lines ?? []).map(({ item }) => item));
    const rated = [], wanted = [];
    paper.fillStyle = colours.dot;
    this.places.forEach(({ item }, place) => {
      if (memory.of(item) !== null) rated.push(place);
      else if (recommended.has(item)) wanted.push(place);
      else this.#round(paper, place);
    });
    // shapes as well as colours: squares are rated, rings recommended
    for (const place of rated) this.#square(paper, place, colours);
    for (const place of wanted) this.#ring(paper, place, colours);
    this.#label(paper, [...wanted, ...rated], colours);
    if (this.#here >= 0) this.#mark(paper, colours);
  }

  #round(paper, place) {
    const { x, y, r } = this.#dots[place];
    paper.beginPath();
    paper.arc(x, y, r, 0, 7);
    paper.fill();
  }

  #square(paper, place, { model, card }) {
    const { x, y } = this.#dots[place];
    paper.fillStyle = card;
    paper.fillRect(x - 7, y - 7, 14, 14);
    paper.fillStyle = model;
    paper.fillRect(x - 5.5, y - 5.5, 11, 11);
  }

  #ring(paper, place, { bias, card }) {
    const { x, y } = this.#dots[place];
    paper.beginPath();
    paper.arc(x, y, 6.5, 0, 7);
    paper.fillStyle = card;
    paper.fill();
    paper.lineWidth = 3;
    paper.strokeStyle = bias;
    paper.stroke();
  }

  #mark(paper, { ink }) {
    const { x, y } = this.#dots[this.#here];
    paper.beginPath();
    paper.arc(x, y, 10, 0, 7);
    paper.lineWidth = 2;
    paper.strokeStyle = ink;
    paper.stroke();
  }

  // Names of what matters to this person, then of what most people know, wherever no other name stands.
  #label(paper, first, { ink, muted, card, font }) {
    const width = at("map").clientWidth;
    const taken = [];
    const places = [...first, ...this.places.slice(0, LABELS).keys()];
    paper.textBaseline = "middle";
    paper.lineJoin = "round";
    paper.lineWidth = 3;
    paper.strokeStyle = card;
    new Set(places).forEach((place) => {
      const { x, y } = this.#dots[place];
      const own = first.includes(place);
      paper.font = `${own ? 600 : 400} 12px ${font}`;
      const [name] = brief(this.places[place].title);
      const text = name.length > 26 ? `${name.slice(0, 25).trimEnd()}…` : name;
      const long = paper.measureText(text).width;
      const left = x + 10 + long < width ? x + 10 : x - 10 - long;
      const box = [left - 4, y - 8, left + long + 4, y + 8];
      if (left < 0 || taken.some((other) => overlap(box, other))) return;
      taken.push(box);
      paper.fillStyle = own ? ink : muted;
      paper.strokeText(text, left, y);
      paper.fillText(text, left, y);
    });
  }

  #near(event) {
    const box = at("map").getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let nearest = -1, least = REACH;
    this.#dots.forEach((dot, place) => {
      const far = Math.hypot(dot.x - x, dot.y - y);
      if (far < least) [nearest, least] = [place, far];
    });
    return nearest;
  }

  #key(event) {
    if (!this.places.length) return;
    if (event.key in WAYS) {
      this.#go(this.#here < 0 ? this.#start() : this.#next(WAYS[event.key]), true);
    } else if (event.key === "Home") {
      this.#go(this.#start(), true);
    } else if (event.key === "Escape") {
      this.#go(-1);
      return;
    } else if ((event.key === "Enter" || event.key === " ") && this.#here >= 0) {
      this.#open(this.#here);
    } else {
      return;
    }
    event.preventDefault();
  }

  // the first recommendation that the map has, or what is rated most
  #start() {
    const places = this.hub.list.lines.map(({ item }) => this.#byItem.get(item));
    return places.find((place) => place !== undefined) ?? 0;
  }

  // The closest that way, sideways counting double: within a right angle, or at the edge whatever lies further that
  // way. Dots that are all but here are passed over.
  #next([dx, dy]) {
    const { x, y } = this.#dots[this.#here];
    let best = this.#here, least = Infinity;
    const outside = 1e6;
    this.#dots.forEach((dot, place) => {
      const along = (dot.x - x) * dx + (dot.y - y) * dy;
      const aside = Math.abs((dot.x - x) * dy) + Math.abs((dot.y - y) * dx);
      const cost = along + 2 * aside + (aside <= along ? 0 : outside);
      if (along > 4 && cost < least) [best, least] = [place, cost];
    });
    return best;
  }

  #go(place, speak = false) {
    if (place === this.#here && !speak) return;
    this.#here = place;
    const tip = at("tip");
    tip.hidden = place < 0;
    if (place >= 0) {
      const says = this.#says(place);
      say(tip, says);
      const { x, y } = this.#dots[place];
      const { clientWidth: width } = at("map");
      const left = Math.max(0, Math.min(x - tip.offsetWidth / 2, width - tip.offsetWidth));
      tip.style.transform = `translate(${left}px, ${y > 60 ? y - 16 - tip.offsetHeight : y + 16}px)`;
      if (speak) say(at("map-says"), says);
    }
    this.draw();
  }

  #says(place) {
    const { memory, list } = this.hub;
    const { item, title } = this.places[place];
    const own = memory.of(item);
    const rank = list.lines.findIndex((line) => line.item === item);
    const mark = own !== null ? `, rated ${short(own)} by you` : rank >= 0 ? `, number ${rank + 1} for you` : "";
    return spoken(title) + mark;
  }

  #open(place) {
    if (place >= 0) this.hub.open(this.places[place].item, this.places[place].title);
  }
}
