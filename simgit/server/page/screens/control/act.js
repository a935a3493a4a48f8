// What is asked of a simulation, with the command that does the same.
import { send, url } from "../../core/api.js";
import { command, plain } from "../../core/format.js";
import { onceKeys } from "../../core/once.js";
import { confirm } from "../../parts/dialog.js";
import { attempt } from "../../parts/notice.js";
import { settingText } from "../start/draft.js";

const TIMEOUT = 10;
const keys = onceKeys();

/** Ask something of a simulation. @param {string} what @param {string} name @param {Record<string, unknown>} [body] */
const ask = (what, name, body = { timeout: TIMEOUT }) => send("POST", url(`simulations/${what}`, name), { body });

const DONE = { pause: "paused", resume: "goes on", freeze: "frozen", stop: "stopped", kill: "killed" };

/** Pause, resume, freeze, stop or kill a simulation. @param {keyof typeof DONE} what @param {string} name */
export async function act(what, name) {
  if (what === "kill" && !(await confirm(`Kill ${plain(name)}?`, "Its processes end at once. What it has recorded but not stored yet, at most a second's, is lost; this cannot be undone.", "Kill"))) return undefined;
  return attempt(() => ask(what, name), `${name}: ${DONE[what]}`, command("sim", what, name));
}

/** Continue a run whose simulation has ended. @param {string} name @param {boolean} [isQueued] */
export function restart(name, isQueued = false) {
  const body = { run: name, queue: isQueued };
  return attempt(async () => {
    try {
      return await send("POST", "/v1/simulations", { body, headers: keys.headers(body) });
    } finally {
      keys.forget(body);
    }
  }, `${name}: ${isQueued ? "queued" : "goes on"}`, command("sim", "restart", name, isQueued ? "--queue" : null));
}

const pairs = (values) => Object.entries(values).map(([path, value]) => `${path}=${settingText(value)}`);

/** Change settings; return the step from which they apply. @param {string} name @param {Record<string, unknown>} overrides */
export async function configure(name, overrides) {
  const found = await ask("set", name, { overrides, timeout: TIMEOUT });
  return { from: found.from, command: command("sim", "set", name, ...pairs(overrides)) };
}

/** Ask a query. @param {string} name @param {string} query @param {unknown} argument */
export const query = (name, query, argument) => ask("query", name, { name: query, argument, timeout: TIMEOUT });

/** Answer a question. @param {string} name @param {number} question @param {Record<string, unknown>} value */
export async function answer(name, question, value) {
  const found = await send("POST", url("answers", name), { body: { value, question } });
  return { value: found.value, command: command("sim", "answer", name, ...pairs(value)) };
}
