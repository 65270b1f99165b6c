// The rig for as long as a test takes: a real kube-apiserver, Redis and Prometheus with the recorded mesh, and our own
// controller and API as processes of their own beside them.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { start, until } from "./program.mjs";

// A call that its client's proxy has counted in two scrapes at least, as those who ask expect it.
const SEEN = "emojivoto/deployment/web->emojivoto/voting-svc:8080";
const FREE = "127.0.0.1:0";

/** Starts it, and gives its address once it has a graph with numbers. `programs` is the folder of our programs. */
export async function rig(programs) {
  const folder = await mkdtemp(join(tmpdir(), "linkerd-mcp-clients-"));
  const stops = [() => rm(folder, { recursive: true, force: true })];
  const stop = async () => {
    for (const each of stops.toReversed()) await each();
  };
  const run = async (name, program, args, options) => {
    const it = await start(name, join(programs, program), args, options);
    stops.push(it.stop);
    return it.value;
  };
  try {
    const env = {};
    await run("the rig", "linkerd-mcp-rig", ["--scrape-interval", "1", "--kubeconfig", join(folder, "kubeconfig")], {
      from: "stdout",
      found: (line) => {
        const [, name, value] = line.match(/^export (\w+)=(.*)$/) ?? [];
        if (name) env[name] = value;
        return line.startsWith("# Kubernetes API at") || undefined;
      },
    });
    const logged = (message) => (line) => {
      const { fields } = line.startsWith("{") ? JSON.parse(line) : {};
      return fields?.message === message ? fields.address : undefined;
    };
    const logs = ["--log-format", "json"];
    const controller = ["--admin-listen", FREE, "--poll", "1s", ...logs];
    await run("the controller", "linkerd-mcp-controller", controller, { env, found: (line) => line || undefined });
    const api = ["--listen", FREE, "--local-auth", "machine", "--admin-listen", FREE, "--mcp-calls-per-second", "0"];
    const serving = logged("serving gRPC, JSON and MCP on this machine");
    const address = await run("the API", "linkerd-mcp-api", [...api, ...logs], { env, found: serving });
    await until("a graph with numbers", async () => {
      const graph = await (await fetch(`http://${address}/v1/graph`)).json();
      return graph.edges?.[SEEN]?.rps > 0;
    });
    return { url: `http://localhost:${address.split(":")[1]}/mcp`, address, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
