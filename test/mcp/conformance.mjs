// The official conformance suite over the real transport, gate and limits, without a list of expected failures:
//
//   node conformance.mjs <built with the feature conformance> <built without it>
//
// With the fixtures, both requirement sets must be met whole. Without them, as released, every check that can be made
// on our own tools, resources and prompts must pass.
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { demo } from "./demo.mjs";

const REVISIONS = ["2025-11-25", "2026-07-28"];

// Scenarios that need no fixture. A check of theirs that does need one says so itself ("untestable").
const WITHOUT_FIXTURES = {
  "2025-11-25": [
    "server-initialize",
    "ping",
    "tools-list",
    "server-sse-multiple-streams",
    "dns-rebinding-protection",
    "server-session-lifecycle",
  ],
  "2026-07-28": [
    "server-stateless",
    "tools-list",
    "server-sse-multiple-streams",
    "sep-2164-resource-not-found",
    "dns-rebinding-protection",
    "caching",
    "input-required-result-unsupported-methods",
    "http-header-validation",
  ],
};

// What each answers when the server says that it has none of it: nothing to judge.
const NEEDS = { "sep-2164-resource-not-found": "resources", caching: "resources" };

const run = promisify(execFile);
const suite = process.env.MCP_MODULES + "/@modelcontextprotocol/conformance/dist/index.js";
const [fixtures, released] = process.argv.slice(2);
let failures = 0;

function failed(what) {
  failures += 1;
  console.error(`FAILED: ${what}`);
}

/** Runs one requirement set; gives its exit code, what it printed and every check by scenario. */
async function judge(url, revision) {
  const out = mkdtempSync(join(tmpdir(), "linkerd-mcp-conformance-"));
  try {
    const args = [suite, "server", "--url", url, "--requirements", revision, "-o", out];
    const { code, printed } = await run(process.execPath, args, { maxBuffer: 64 << 20 }).then(
      ({ stdout }) => ({ code: 0, printed: stdout }),
      (error) => ({ code: error.code, printed: `${error.stdout}${error.stderr}` }),
    );
    const scenarios = new Map();
    for (const folder of readdirSync(out)) {
      const file = join(out, folder, "checks.json");
      const name = folder.match(/^server-(.*)-\d{4}-\d\d-\d\dT/)?.[1];
      if (name && existsSync(file)) scenarios.set(name, JSON.parse(readFileSync(file, "utf8")));
    }
    return { code, printed, scenarios };
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

/** One request of the revision without sessions. */
async function ask(url, method) {
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  const headers = {
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": method,
  };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: { _meta } });
  return (await (await fetch(url, { method: "POST", headers, body })).json()).result;
}

const bad = (check) => check.status === "FAILURE" && !check.details?.untestable;

async function withFixtures() {
  const server = await demo(fixtures);
  try {
    for (const revision of REVISIONS) {
      const { code, printed, scenarios } = await judge(server.url, revision);
      const checks = [...scenarios.values()].flat();
      // The suite's own verdict, and a floor under it: an empty run would be a pass too.
      const passed = checks.filter((it) => it.status === "SUCCESS").length;
      console.log(`${revision} with fixtures: ${scenarios.size} scenarios, ${passed} checks passed, exit ${code}`);
      if (code !== 0) failed(`${revision} is not met:\n${printed.slice(printed.indexOf("=== SUMMARY"))}`);
      if (scenarios.size < 30 || passed < 80) failed(`${revision} judged next to nothing:\n${printed}`);
    }
  } finally {
    await server.stop();
  }
}

async function asReleased() {
  const server = await demo(released);
  try {
    const { capabilities } = await ask(server.url, "server/discover");
    const { tools } = await ask(server.url, "tools/list");
    for (const { name } of tools.filter((it) => it.name.includes("test"))) failed(`${name} is in what is released`);
    console.log(`as released it offers ${Object.keys(capabilities).sort().join(", ")}`);
    for (const revision of REVISIONS) {
      const { scenarios } = await judge(server.url, revision);
      let passed = 0;
      for (const name of WITHOUT_FIXTURES[revision]) {
        if (NEEDS[name] && !capabilities[NEEDS[name]]) {
          console.log(`${revision} ${name}: not judged, the server offers no ${NEEDS[name]}`);
          continue;
        }
        const checks = scenarios.get(name) ?? [];
        const good = checks.filter((it) => it.status === "SUCCESS").length;
        if (good === 0) failed(`${revision} ${name} judged nothing`);
        for (const check of checks.filter(bad)) failed(`${revision} ${name} ${check.id}: ${check.errorMessage}`);
        passed += good;
      }
      console.log(`${revision} as released: ${passed} checks passed`);
    }
  } finally {
    await server.stop();
  }
}

await withFixtures();
await asReleased();
if (failures > 0) {
  console.error(`${failures} failures`);
  process.exit(1);
}
