// Independent clients complete a session over HTTP and over stdio, and call every tool:
//
//   node clients.mjs <linkerd-mcp> demo    with the simulated mesh
//   node clients.mjs <linkerd-mcp> rig     with controller and API on a real kube-apiserver, Redis and Prometheus
//
// Both official TypeScript SDKs (`sdk` begins with initialize, `client` speaks the revision without sessions), which
// hold every structured answer against the tool's output schema; and for the demo the Inspector's command line, with
// --strict. In the rig there is everything that a tool asks, so that none may say that it has nothing to ask.
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { demo } from "./demo.mjs";
import { rig } from "./rig.mjs";

const [binary, mesh] = process.argv.slice(2);
const modules = process.env.MCP_MODULES;
const require = createRequire(modules + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)));
const run = promisify(execFile);
let failures = 0;

// A Server that lets everybody in and counts: nothing of it is applied.
const SERVER = [
  "apiVersion: policy.linkerd.io/v1beta3",
  "kind: Server",
  "metadata: {name: tried, namespace: emojivoto}",
  "spec: {podSelector: {matchLabels: {app: voting}}, port: 8081, accessPolicy: audit}",
].join("\n");

// Arguments by tool, and by name for tools that are not listed. All are of both meshes.
const ARGUMENTS = {
  apply_plan: { plan: "plan-of-nobody" },
  check_access: { from: "emojivoto/deployment/web", to: "emojivoto/voting-svc:8080" },
  describe_resource: { kind: "deployment", namespace: "emojivoto", name: "web" },
  describe_workload: { name: "emojivoto/deployment/web" },
  get_policies: { namespace: "emojivoto" },
  list_access: { namespace: "emojivoto" },
  plan_policy: { manifest: SERVER },
  propose_policy: { target: "emojivoto/deployment/voting" },
  rollback_change: { change_id: "c-of-nobody" },
  simulate_policy: { manifest: SERVER },
};
const VALUES = {
  namespace: "emojivoto",
  from: "emojivoto/deployment/web",
  to: "emojivoto/voting-svc",
  workload: "emojivoto/deployment/web",
  service: "emojivoto/voting-svc",
  target: "emojivoto/deployment/web",
  query: "sum(response_total)",
  minutes: "5",
  client: "emojivoto/deployment/web",
  server: "emojivoto/voting-svc",
};

// What a tool says that has no source in the simulation, such as a Prometheus: an answer too.
const NOT_HERE = /not configured|no Prometheus|no Kubernetes|cannot be asked|not available|not connected/i;

// What there is not, in words: nothing is changed by these tests.
const REFUSED = { apply_plan: /this plan is not known/, rollback_change: /there is no such change/ };

// What tools answer about the rig, by the name of the tool: from the graph, from Prometheus, and from Kubernetes.
const FACTS = {
  find_edges: (it) => it.edges.some((edge) => edge.to === "emojivoto/voting-svc:8080" && edge.rps > 0 && edge.mtls),
  check_access: (it) => it.accesses.some((access) => access.workload === "emojivoto/deployment/voting"),
  query_prometheus: (it) => it.series.some((series) => series.value > 0),
  get_pods: (it) => it.pods.some((pod) => pod.name.startsWith("voting-") && pod.meshed),
  describe_resource: (it) => it.manifest.metadata.name === "web",
};

/** A value for a required argument. */
function exampleOf(name, { name: of, inputSchema }) {
  const example = VALUES[name] ?? inputSchema?.properties[name].enum?.[0];
  if (example === undefined) throw new Error(`test/mcp/clients.mjs has no value for ${name} of ${of}`);
  return example;
}

/** Valid arguments: what is required, and the table. */
function argumentsOf(tool) {
  if (ARGUMENTS[tool.name]) return ARGUMENTS[tool.name];
  const required = tool.inputSchema.required ?? [];
  return Object.fromEntries(required.map((name) => [name, exampleOf(name, tool)]));
}

/** Runs one session; a failure is told and does not end the others. */
async function session(name, body) {
  try {
    console.log(`${name}: ${await body()}`);
  } catch (error) {
    failures += 1;
    console.error(`FAILED: ${name}: ${error.stderr || error.stdout || error.stack}`);
  }
}

function judge(tool, result) {
  if (!result.content?.length) throw new Error(`${tool.name} answered no text`);
  const answer = result.structuredContent;
  if (result.isError) {
    const text = result.content[0].text;
    const expected = REFUSED[tool.name]?.test(text) || (mesh === "demo" && NOT_HERE.test(text));
    if (!expected) throw new Error(`${tool.name}: ${result.content[0].text}`);
  } else if (!answer?.freshness) {
    throw new Error(`${tool.name} does not say how fresh it is`);
  } else if (mesh === "rig" && FACTS[tool.name]?.(answer) === false) {
    throw new Error(`${tool.name} does not know the rig: ${JSON.stringify(answer)}`);
  }
}

/** In the rig no tool is missing. */
function complete(tools) {
  const names = tools.map((tool) => tool.name);
  const missing = mesh === "rig" ? Object.keys(FACTS).filter((name) => !names.includes(name)) : [];
  if (missing.length > 0) throw new Error(`there is no ${missing.join(", ")} among ${names.join(", ")}`);
}

async function whole(client, transport) {
  await client.connect(transport);
  try {
    const version = client.getServerVersion();
    if (version?.name !== "linkerd-mcp") throw new Error(`the server is ${JSON.stringify(version)}`);
    if (!client.getInstructions()?.includes("Linkerd")) throw new Error("there are no instructions");
    const { tools } = await client.listTools();
    complete(tools);
    for (const tool of tools) judge(tool, await client.callTool({ name: tool.name, arguments: argumentsOf(tool) }));
    const offered = client.getServerCapabilities();
    let more = "";
    if (offered.resources) {
      const { resources } = await client.listResources();
      for (const { uri } of resources) await client.readResource({ uri });
      more += `, ${resources.length} resources read`;
    }
    if (offered.prompts) {
      const { prompts } = await client.listPrompts();
      for (const prompt of prompts) {
        const needed = (prompt.arguments ?? []).filter((argument) => argument.required);
        const given = Object.fromEntries(needed.map(({ name }) => [name, exampleOf(name, prompt)]));
        const { messages } = await client.getPrompt({ name: prompt.name, arguments: given });
        if (!messages.length) throw new Error(`the prompt ${prompt.name} says nothing`);
      }
      more += `, ${prompts.length} prompts read`;
    }
    const wrong = await client.callTool({ name: tools[0].name, arguments: { no_such_argument: 1 } });
    if (!wrong.isError) throw new Error("a wrong argument was taken");
    return `${tools.length} tools called${more}`;
  } finally {
    await client.close();
  }
}

async function sdk(url, stdio) {
  const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
  const { StreamableHTTPClientTransport } = await load("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const { StdioClientTransport } = await load("@modelcontextprotocol/sdk/client/stdio.js");
  const client = () => new Client({ name: "linkerd-mcp-test", version: "1" });
  await session("sdk over HTTP", async () => {
    const transport = new StreamableHTTPClientTransport(new URL(url));
    const said = await whole(client(), transport);
    if (transport.protocolVersion !== "2025-11-25") throw new Error(`spoke ${transport.protocolVersion}`);
    return said;
  });
  await session("sdk over stdio", () => whole(client(), new StdioClientTransport({ ...stdio, stderr: "inherit" })));
}

async function next(url, stdio) {
  const { Client, StreamableHTTPClientTransport } = await load("@modelcontextprotocol/client");
  const { StdioClientTransport } = await load("@modelcontextprotocol/client/stdio");
  for (const mode of ["legacy", "auto", { pin: "2026-07-28" }]) {
    const client = () => new Client({ name: "linkerd-mcp-test", version: "1" }, { versionNegotiation: { mode } });
    const expected = mode === "legacy" ? "2025-11-25" : "2026-07-28";
    const spoke = async (transport) => {
      const one = client();
      let version;
      const close = one.close.bind(one);
      one.close = () => ((version = one.getNegotiatedProtocolVersion()), close());
      const said = await whole(one, transport);
      if (version !== expected) throw new Error(`spoke ${version}, not ${expected}`);
      return said;
    };
    const name = `client (${JSON.stringify(mode)})`;
    await session(`${name} over HTTP`, () => spoke(new StreamableHTTPClientTransport(new URL(url))));
    await session(`${name} over stdio`, () => spoke(new StdioClientTransport({ ...stdio, stderr: "inherit" })));
  }
}

async function inspector(url, stdio) {
  const cli = modules + "/@modelcontextprotocol/inspector/clients/launcher/build/index.js";
  const targets = {
    "over HTTP": [url, "--transport", "http"],
    "over stdio": [stdio.command, ...stdio.args],
  };
  for (const [where, target] of Object.entries(targets)) {
    for (const era of ["legacy", "modern"]) {
      await session(`Inspector (${era}) ${where}`, async () => {
        const ask = async (...args) => {
          const all = [cli, "--cli", ...target, "--protocol-era", era, ...args];
          const { stdout } = await run(process.execPath, all, { maxBuffer: 64 << 20, timeout: 60_000 });
          return JSON.parse(stdout);
        };
        const { tools } = await ask("--method", "tools/list", "--strict");
        for (const tool of tools) {
          const given = Object.entries(argumentsOf(tool)).map(([name, value]) => `${name}=${value}`);
          const named = given.length > 0 ? ["--tool-arg", ...given] : [];
          try {
            judge(tool, await ask("--method", "tools/call", "--tool-name", tool.name, ...named));
          } catch (error) {
            // The Inspector takes a tool's own refusal for a failure, and does not show its text.
            if (!REFUSED[tool.name] || !`${error.stdout}${error.stderr}`.includes("tool_is_error")) throw error;
          }
        }
        return `${tools.length} tools called`;
      });
    }
  }
}

// Clients of a test ask faster than models do.
const dir = mkdtempSync(join(tmpdir(), "linkerd-mcp-clients-"));
const unlimited = join(dir, "mcp.yaml");
writeFileSync(unlimited, "callsPerSecond: 0\n");
const servers = { demo: () => demo(binary, "--mcp-config", unlimited), rig: () => rig(dirname(binary)) };
if (!servers[mesh]) throw new Error("usage: node clients.mjs <linkerd-mcp> demo | rig");
const server = await servers[mesh]();
try {
  const stdio = { command: binary, args: ["mcp", "--api-addr", server.address] };
  await sdk(server.url, stdio);
  await next(server.url, stdio);
  if (mesh === "demo") await inspector(server.url, stdio);
} finally {
  await server.stop();
  rmSync(dir, { recursive: true });
}
if (failures > 0) {
  console.error(`${failures} failures`);
  process.exit(1);
}
