// What someone told: their ratings and where the dials stand, remembered by this browser.

const KEY = "hyvae-page";

export class Memory extends EventTarget {
  #ratings = new Map(); // by item, in the order in which they were given
  dials = { diversity: 0, certainty: 0 };

  constructor() {
    super();
    try {
      const kept = JSON.parse(localStorage.getItem(KEY)) ?? {};
      for (const [item, title, rating] of kept.ratings ?? []) {
        const known = ["number", "string"].includes(typeof item) && typeof title === "string";
        if (known && Number.isFinite(rating)) this.#ratings.set(item, { title, rating });
      }
      for (const dial of Object.keys(this.dials)) {
        const value = kept.dials?.[dial];
        if (value >= 0 && value <= 1) this.dials[dial] = value;
      }
    } catch {
      // nothing was kept, it is damaged, or this browser keeps nothing: start anew
    }
  }

  get size() {
    return this.#ratings.size;
  }

  of(item) {
    return this.#ratings.get(item)?.rating ?? null;
  }

  // [item, {title, rating}] of each, the earliest first
  entries() {
    return [...this.#ratings];
  }

  // as the service takes them; without one item where that is what is asked about
  asked(without) {
    return this.entries()
      .filter(([item]) => item !== without)
      .map(([item, { rating }]) => ({ item, rating }));
  }

  rate(item, title, rating) {
    if (rating === null) this.#ratings.delete(item);
    else this.#ratings.set(item, { title, rating });
    this.#changed();
  }

  clear() {
    this.#ratings.clear();
    this.#changed();
  }

  // Ratings that the model cannot take, such as of items that it does not know.
  keepOnly(keep) {
    const gone = this.entries().filter(([item, { title, rating }]) => !keep(item, title, rating));
    for (const [item] of gone) this.#ratings.delete(item);
    if (gone.length) this.#changed();
    return gone.map(([, { title }]) => title);
  }

  turn(dial, value) {
    this.dials[dial] = value;
    this.#write();
    this.dispatchEvent(new Event("dial"));
  }

  #changed() {
    this.#write();
    this.dispatchEvent(new Event("ratings"));
  }

  #write() {
    try {
      const ratings = this.entries().map(([item, { title, rating }]) => [item, title, rating]);
      if (ratings.length || this.dials.diversity || this.dials.certainty) {
        localStorage.setItem(KEY, JSON.stringify({ ratings, dials: this.dials }));
      } else {
        localStorage.removeItem(KEY);
      }
    } catch {
      // full, or not allowed: the page works all the same until it is left
    }
  }
}
