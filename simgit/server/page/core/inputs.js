// Settings that people changed while simulations ran, by the state from which they apply.
import { useEffect, useState } from "../vendor/preact.js";
import { get } from "./api.js";
import { count, json, plain } from "./format.js";
import { on } from "./live.js";
import { asOf } from "./router.js";
import { runs } from "./runs.js";
import { useStore } from "./store.js";
import { flat } from "./words.js";

/** A change; run: the one that is drawn, by: null if nobody is known. @typedef {{run: string, x: number, text: string, note: string}} Change */

const SOON = 300; // several changes come together
const PAUSE = 3000; // answers come as such operations too, often one after another
const DEEPEST = 100;

/** Return whether a simulation recorded a run, or one that it was branched off. */
function isSimulated(run, all) {
  for (let at = run, depth = 0; at && depth < DEEPEST; at = all.get(at.parent), depth++) if (at.metadata?.simulation) return true;
  return false;
}

/** Return one input as what is drawn and said; a value that is not known is left out. @returns {Change} */
function told(run, { from, overrides, before = {}, by }) {
  const parts = flat(overrides).map(([path, value]) => `${plain(path)} ${Object.hasOwn(before, path) ? `${json(before[path], 20)} → ` : "→ "}${json(value, 20)}`);
  return { run, x: from, text: `◆ ${parts.join(", ")}`, note: `${parts.join(", ")} from step ${count(from)} on${by ? `, by ${plain(by)}` : ""}` };
}

/**
 * Return the changes of settings along runs; they are read again when one is made.
 * @param {string[]} names @returns {Change[]}
 */
export function useChanges(names) {
  const asked = useStore(runs, (all) => (asOf() === null ? names.filter((name) => isSimulated(all?.get(name), all)).join("\n") : "")).split("\n").filter(Boolean);
  const [change, setChange] = useState(0);
  const [found, set] = useState(/** @type {Change[]} */ ([]));
  useEffect(() => {
    let timer = 0;
    let last = -PAUSE;
    const end = on("operation", ({ command, arguments: [what, name = ""] }) => {
      if (!(command === "attach" && name.startsWith("input-")) && !(command === "configure" && asked.includes(what))) return;
      if (timer) return;
      timer = setTimeout(() => {
        timer = 0;
        last = performance.now();
        setChange((times) => times + 1);
      }, Math.max(SOON, last + PAUSE - performance.now()));
    });
    return () => {
      clearTimeout(timer);
      end();
    };
  }, [asked.join()]);
  useEffect(() => {
    if (!asked.length) return void set((before) => (before.length ? [] : before));
    const control = new AbortController();
    const read = (name) => get("inputs", name, {}, { signal: control.signal }).then(({ inputs }) => inputs.filter(({ kind }) => kind === "set").map((each) => told(name, each)), () => []);
    Promise.all(asked.map(read)).then((all) => control.signal.aborted || set(all.flat()));
    return () => control.abort();
  }, [asked.join(), change]);
  return found;
}
