// Independent clients complete a session with the simulated mesh, over HTTP and over stdio, and call every tool:
//
//   node clients.mjs <linkerd-mcp>
//
// Both official TypeScript SDKs (`sdk` begins with initialize, `client` speaks the revision without sessions), which
// hold every structured answer against the tool's output schema; and the Inspector's command line, with --strict.
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { demo } from "./demo.mjs";

const binary = process.argv[2];
const modules = process.env.MCP_MODULES;
const require = createRequire(modules + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)));
const run = promisify(execFile);
let failures = 0;

// Arguments by tool, and by name for tools that are not listed. All are of the simulated mesh.
const ARGUMENTS = {
  check_access: { from: "emojivoto/deployment/web", to: "emojivoto/voting-svc:8080" },
  describe_workload: { name: "emojivoto/deployment/web" },
  get_policies: { namespace: "emojivoto" },
  list_access: { namespace: "emojivoto" },
};
const VALUES = {
  namespace: "emojivoto",
  from: "emojivoto/deployment/web",
  to: "emojivoto/voting-svc",
  workload: "emojivoto/deployment/web",
  service: "emojivoto/voting-svc",
  target: "emojivoto/deployment/web",
  query: "sum(response_total)",
  kind: "Deployment",
  name: "web",
};

// What a tool says that has no source in the simulation, such as a Prometheus: an answer too.
const NOT_HERE = /not configured|no Prometheus|no Kubernetes|cannot be asked|not available|not connected/i;

/** Valid arguments: what is required, and the table. */
function argumentsOf(tool) {
  if (ARGUMENTS[tool.name]) return ARGUMENTS[tool.name];
  const given = {};
  for (const name of tool.inputSchema.required ?? []) {
    const example = VALUES[name] ?? tool.inputSchema.properties[name].enum?.[0];
    if (example === undefined) throw new Error(`test/mcp/clients.mjs has no value for ${name} of ${tool.name}`);
    given[name] = example;
  }
  return given;
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
  if (result.isError) {
    if (!NOT_HERE.test(result.content[0].text)) throw new Error(`${tool.name}: ${result.content[0].text}`);
  } else if (!result.structuredContent?.freshness) {
    throw new Error(`${tool.name} does not say how fresh it is`);
  }
}

async function whole(client, transport) {
  await client.connect(transport);
  try {
    const version = client.getServerVersion();
    if (version?.name !== "linkerd-mcp") throw new Error(`the server is ${JSON.stringify(version)}`);
    if (!client.getInstructions()?.includes("Linkerd")) throw new Error("there are no instructions");
    const { tools } = await client.listTools();
    for (const tool of tools) judge(tool, await client.callTool({ name: tool.name, arguments: argumentsOf(tool) }));
    const offered = client.getServerCapabilities();
    let more = "";
    if (offered.resources) {
      const { resources } = await client.listResources();
      for (const { uri } of resources) await client.readResource({ uri });
      more += `, ${resources.length} resources read`;
    }
    if (offered.prompts) more += `, ${(await client.listPrompts()).prompts.length} prompts`;
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
          judge(tool, await ask("--method", "tools/call", "--tool-name", tool.name, ...named));
        }
        return `${tools.length} tools called`;
      });
    }
  }
}

const server = await demo(binary);
try {
  const stdio = { command: binary, args: ["mcp", "--api-addr", server.address] };
  await sdk(server.url, stdio);
  await next(server.url, stdio);
  await inspector(server.url, stdio);
} finally {
  await server.stop();
}
if (failures > 0) {
  console.error(`${failures} failures`);
  process.exit(1);
}
