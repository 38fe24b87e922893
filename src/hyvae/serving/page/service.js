// Asking the service: problems as errors, the token, and questions of which only the latest is answered.

const TOKEN = "hyvae-token";
const LONGEST_WAIT = 10_000;

export class Problem extends Error {
  constructor(message, { status = 0, kind = "", errors = [], passing = false, after = null } = {}) {
    super(message);
    Object.assign(this, { status, kind, errors, passing, after });
  }
}

// Addresses are relative: the page may be served below a path.
async function ask(path, body, signal) {
  const headers = { accept: "application/json" };
  const token = stored();
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer, content;
  try {
    const method = body === undefined ? "GET" : "POST";
    answer = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body), cache: "no-store" });
    content = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // no connection, or one that ended within the answer, or a proxy's page
    throw new Problem("The service does not answer; trying again …", { status: answer?.status, passing: true });
  }
  if (answer.ok) return content;
  throw problemOf(answer, content);
}

export const get = (path, signal) => ask(path, undefined, signal);
export const post = ask;

function problemOf(answer, { title = "The service refused", detail = "", type = "", errors = [] }) {
  const passing = [429, 500, 502, 503, 504].includes(answer.status);
  const after = Number(answer.headers.get("retry-after")) || null;
  const kind = type.split("/").pop();
  const [first] = errors;
  const where = first && !detail.includes(first.detail) ? ` (${first.field}: ${first.detail})` : "";
  const message = `${title}: ${detail}${where}${passing ? "; trying again …" : ""}`;
  return new Problem(message, { status: answer.status, kind, errors, passing, after });
}

function stored() {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return given; // a browser that keeps nothing
  }
}

let given = null;
export function keepToken(token) {
  given = token;
  try {
    sessionStorage.setItem(TOKEN, token);
  } catch {
    // then it is known until the page is left
  }
}

// A question that may be asked anew before it was answered: earlier ones are given up and their answers dropped.
// What will pass (a stopped server, too many requests) is asked again; `hub` tells of problems and asks for the token.
export class Latest {
  #turn = 0;
  #timer;
  #stop;

  constructor(hub, { work, show, refused = () => false, wait = 0 }) {
    Object.assign(this, { hub, work, show, refused, wait });
  }

  ask(...what) {
    this.#drop();
    const turn = this.#turn;
    this.#timer = setTimeout(() => this.#run(turn, what, 0), this.wait);
  }

  cancel() {
    this.#drop();
    this.hub.well(this);
  }

  #drop() {
    this.#turn += 1;
    clearTimeout(this.#timer);
    this.#stop?.abort();
  }

  async #run(turn, what, tries) {
    this.#stop = new AbortController();
    let answer;
    try {
      answer = await this.work(this.#stop.signal, ...what);
    } catch (error) {
      if (turn === this.#turn) await this.#failed(error, turn, what, tries);
      return;
    }
    if (turn !== this.#turn) return;
    this.hub.well(this);
    this.show(answer, ...what);
  }

  async #failed(error, turn, what, tries) {
    if (!(error instanceof Problem)) throw error;
    if (error.status === 401) {
      const given = await this.hub.token();
      if (turn !== this.#turn) return;
      if (given) this.#run(turn, what, tries);
      else this.hub.ill(this, "Without a token nothing can be asked. Reload the page to give one.");
    } else if (error.passing) {
      this.hub.ill(this, error.message);
      const wait = error.after ? 1000 * error.after : Math.min(1000 * 2 ** tries, LONGEST_WAIT);
      this.#timer = setTimeout(() => this.#run(turn, what, tries + 1), wait);
    } else if (!this.refused(error, ...what)) {
      this.hub.ill(this, error.message);
    }
  }
}
