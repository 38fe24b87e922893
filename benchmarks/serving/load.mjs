// An open-loop load: requests leave evenly at a rate, whether or not those before them were answered, each on a
// connection that is free or else a new one. All are waited for. One line of JSON comes out.
//
//   node load.mjs URL RATE SECONDS BODIES.json
import { readFileSync } from "node:fs";
import { loadTest } from "loadtest";

const [url, rate, seconds, file] = process.argv.slice(2);
const bodies = JSON.parse(readFileSync(file, "utf8")).map((body) => JSON.stringify(body));
const took = [];
let sent = 0;

function request(_, options, client, callback) {
  const body = bodies[sent++ % bodies.length];
  options.headers["Content-Type"] = "application/json";
  options.headers["Content-Length"] = Buffer.byteLength(body);
  const one = client(options, callback);
  one.write(body);
  return one;
}

const result = await loadTest({
  url: `${url}/v1/recommend`,
  method: "POST",
  requestsPerSecond: Number(rate),
  maxRequests: Number(rate) * Number(seconds),
  agentKeepAlive: true,
  timeout: 20000,
  quiet: true,
  requestGenerator: request,
  statusCallback: (error, answer) => error || took.push(answer.requestElapsed),
});
took.sort((a, b) => a - b);
const quantile = (share) => took[Math.max(0, Math.ceil(share * took.length) - 1)];
console.log(
  JSON.stringify({
    answered: took.length,
    not_answered: sent - took.length,
    errors: result.errorCodes,
    per_second: took.length / result.totalTimeSeconds,
    connections: result.clients,
    latency_ms: { p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99), p99_9: quantile(0.999), max: quantile(1) },
  }),
);
