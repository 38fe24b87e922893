// An open-loop load: requests leave at a constant rate, whether or not those before them were answered; what waits for
// a connection counts as waiting (autocannon corrects for coordinated omission). One line of JSON comes out.
//
//   node load.mjs URL RATE SECONDS CONNECTIONS BODIES.json
import { readFileSync } from "node:fs";
import autocannon from "autocannon";

const [url, rate, duration, connections, bodies] = process.argv.slice(2);
const requests = JSON.parse(readFileSync(bodies, "utf8")).map((body) => ({
  method: "POST",
  path: "/v1/recommend",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
}));
const result = await autocannon({
  url,
  overallRate: Number(rate),
  duration: Number(duration),
  connections: Number(connections),
  timeout: 20,
  requests,
});
const { p50, p90, p97_5, p99, p99_9, max } = result.latency;
console.log(
  JSON.stringify({
    answered: result["2xx"],
    refused: result.non2xx,
    failed: result.errors + result.timeouts,
    per_second: result["2xx"] / result.duration,
    latency_ms: { p50, p90, p97_5, p99, p99_9, max },
  }),
);
