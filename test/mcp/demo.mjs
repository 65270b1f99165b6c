// A simulated mesh for as long as a test takes: `linkerd-mcp demo` on a free port.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const PATIENCE_MS = 90_000;

/** Starts it, and gives its address once it serves. */
export async function demo(binary, ...args) {
  const child = spawn(binary, ["demo", "--no-follow", "--listen", "127.0.0.1:0", ...args], {
    stdio: ["ignore", "inherit", "pipe"],
  });
  const port = await new Promise((found, failed) => {
    const late = setTimeout(() => failed(new Error("the demo did not say where it serves")), PATIENCE_MS);
    child.once("error", failed);
    child.once("exit", (code) => failed(new Error(`the demo ended with ${code} before it served`)));
    createInterface({ input: child.stderr }).on("line", (line) => {
      const said = line.match(/^Serving a simulated mesh on 127\.0\.0\.1:(\d+);/);
      if (!said) return;
      clearTimeout(late);
      found(said[1]);
    });
  });
  const stop = () =>
    new Promise((ended) => {
      if (child.exitCode !== null) return ended();
      child.removeAllListeners("exit");
      child.once("exit", ended);
      child.kill("SIGTERM");
    });
  return { url: `http://localhost:${port}/mcp`, address: `127.0.0.1:${port}`, stop };
}
