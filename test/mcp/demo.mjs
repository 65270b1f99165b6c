// A simulated mesh for as long as a test takes: `linkerd-mcp demo` on a free port.
import { start } from "./program.mjs";

/** Starts it, and gives its address once it serves. */
export async function demo(binary, ...args) {
  const all = ["demo", "--no-follow", "--listen", "127.0.0.1:0", ...args];
  const { value: port, stop } = await start("the demo", binary, all, {
    found: (line) => line.match(/^Serving a simulated mesh on 127\.0\.0\.1:(\d+);/)?.[1],
  });
  return { url: `http://localhost:${port}/mcp`, address: `127.0.0.1:${port}`, stop };
}
