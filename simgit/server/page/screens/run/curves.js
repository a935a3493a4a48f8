// The curves of a run, with what happened along it.
import { html } from "../../vendor/preact.js";
import { get } from "../../core/api.js";
import { plain } from "../../core/format.js";
import { useCalm, useLoad } from "../../core/load.js";
import { Curves } from "../../parts/curves.js";
import { useBranches } from "./branches.js";
import { readState } from "./past.js";

const MOST = 30; // marks: more would hide the curve
const FOLLOWS = 100;

/** @param {{run: any, step: number, tags: {name: string, oid: string}[], onStep: (step: number) => void}} props */
export function Panel({ run, step, tags, onStep }) {
  const cursor = useCalm(step, FOLLOWS);
  const { branches } = useBranches(run);
  const wanted = [
    ...(run.branch_point ? [{ oid: run.branch_point, text: `from ${plain(run.parent)}` }] : []),
    ...branches.map((each) => ({ oid: each.oid, text: `↳ ${plain(each.name)}` })),
    ...tags.map((tag) => ({ oid: tag.oid, text: `tag ${plain(tag.name)}` })),
  ].slice(0, MOST);
  const marks = useLoad(async () => {
    const found = await Promise.all(wanted.map(async ({ oid, text }) => ({ x: (await readState(oid)).step, text, oid })));
    const isTag = new Set(tags.map((tag) => tag.oid));
    const own = await Promise.all(found.map(async (mark) => (isTag.has(mark.oid) ? isIn(mark.oid, run.name) : true)));
    return found.filter((_, index) => own[index]);
  }, [JSON.stringify(wanted), run.name]);
  return html`<${Curves} names=${[run.name]} marks=${merged(marks.data ?? [])} cursor=${cursor} onPick=${(_, at) => onStep(at)} hint="No states yet: nothing to draw." />`;
}

/** Return whether a state is in the history of a run. @param {string} oid @param {string} run */
async function isIn(oid, run) {
  return (await get("contains", oid)).includes(run);
}

/** Marks at one step are one mark. */
function merged(marks) {
  const at = new Map();
  for (const { x, text } of marks) at.set(x, at.has(x) ? `${at.get(x)}, ${text}` : text);
  return [...at].map(([x, text]) => ({ x, text }));
}
