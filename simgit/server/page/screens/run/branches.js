// The runs that were branched off a run, as links by the states where they begin.
import { html, useMemo } from "../../vendor/preact.js";
import { count, plain, plural } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { address } from "../../core/router.js";
import { runs } from "../../core/runs.js";
import { useStore } from "../../core/store.js";
import { readState } from "./past.js";

const MOST = 30; // branches whose states are read
const SHOWN = 6;

/** Return the branches of a run with the steps where they begin, the first one first; of very many the newest. @param {any} run */
export function useBranches(run) {
  const known = useStore(runs);
  const all = useMemo(() => [...(known?.values() ?? [])].filter((each) => each.parent === run.name && each.branch_point)
    .sort((a, b) => (a.created < b.created ? 1 : -1)).map(({ name, branch_point: oid }) => ({ name, oid })), [known, run.name]);
  const read = useLoad(() => Promise.all(all.slice(0, MOST).map(async ({ name, oid }) => ({ name, oid, step: (await readState(oid)).step }))), [JSON.stringify(all.slice(0, MOST))]);
  return { count: all.length, branches: [...(read.data ?? [])].sort((a, b) => a.step - b.step) };
}

/** Those that begin nearest to a step. @param {{run: any, step: number, onStep: (step: number) => void}} props */
export function Branches({ run, step, onStep }) {
  const { count: all, branches } = useBranches(run);
  if (!branches.length) return null;
  const near = [...branches].sort((a, b) => Math.abs(a.step - step) - Math.abs(b.step - step)).slice(0, SHOWN).sort((a, b) => a.step - b.step);
  return html`<nav class="branches" aria-label="Branches of this run"><span class="muted" aria-hidden="true">↳</span>
    ${near.map((each) => html`<span key=${each.name} class=${each.step === step ? "chip here" : "chip"}>
      <button type="button" class="quiet link" aria-label=${`Step ${each.step}, where ${each.name} begins`} onclick=${() => onStep(each.step)}>@${count(each.step)}</button>
      <a href=${address("run", each.name, { step: each.step })} title=${plain(each.name)}>${plain(each.name)}</a></span>`)}
    ${all > near.length && html`<span class="muted">and ${plural(all - near.length, "more branch").replace("branchs", "branches")}</span>`}</nav>`;
}
