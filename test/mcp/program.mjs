// Programs that run for as long as a test takes.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const PATIENCE_MS = 120_000;

/**
 * Starts a program and waits until `found`, which is given each of its lines, has made something of one.
 *
 * `from` is the stream that is read: stdout or stderr. The other one goes where ours goes. Gives what was found, and how
 * to end the program.
 */
export async function start(name, binary, args, { env = {}, from = "stderr", found }) {
  const out = from === "stdout" ? "pipe" : "ignore";
  const err = from === "stderr" ? "pipe" : "inherit";
  const child = spawn(binary, args, { stdio: ["ignore", out, err], env: { ...process.env, ...env } });
  // What was said last, for the case that it ends.
  const last = [];
  const lines = createInterface({ input: child[from] });
  // Nobody else would end it when this process ends early.
  const abandoned = () => child.kill("SIGKILL");
  process.once("exit", abandoned);
  const stop = () =>
    new Promise((ended) => {
      process.removeListener("exit", abandoned);
      if (child.exitCode !== null || child.signalCode !== null) return ended();
      child.removeAllListeners("exit");
      child.once("exit", ended);
      child.kill("SIGTERM");
    });
  const value = new Promise((resolve, reject) => {
    const late = setTimeout(() => failed("did not say what was waited for"), PATIENCE_MS);
    const failed = (how) => {
      clearTimeout(late);
      reject(new Error(`${name} ${how}: ${last.join("\n")}`));
    };
    child.once("error", (error) => failed(`cannot be started (${error.message})`));
    child.once("exit", (code, signal) => failed(`ended with ${code ?? signal}`));
    lines.on("line", (line) => {
      last.push(line);
      if (last.length > 20) last.shift();
      const it = found(line);
      if (it === undefined) return;
      clearTimeout(late);
      resolve(it);
    });
  });
  try {
    return { value: await value, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Waits until `look` gives something; null and what it throws are not yet. */
export async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  let why = "";
  while (Date.now() < end) {
    try {
      const it = await look();
      if (it) return it;
    } catch (error) {
      why = `: ${error.message}`;
    }
    await new Promise((passed) => setTimeout(passed, 100));
  }
  throw new Error(`${what} did not come${why}`);
}
