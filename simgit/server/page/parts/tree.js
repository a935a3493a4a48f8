// The tree of runs: who was branched off whom.
import { html } from "../vendor/preact.js";

const STEP = 12;
const DEEPEST = 12;

/**
 * Return runs as rows in the order of the tree, each below the one it was branched off.
 * @param {Iterable<import("../core/runs.js").Run>} runs
 * @returns {{run: any, depth: number, lines: boolean[], hasMore: boolean, isLast: boolean}[]}
 *   lines: per level above, whether a later sibling continues it
 */
export function treeRows(runs) {
  const all = [...runs];
  const names = new Set(all.map((run) => run.name));
  /** @type {Map<string | null, any[]>} */
  const below = new Map();
  for (const run of all) {
    const parent = run.parent !== null && names.has(run.parent) && run.parent !== run.name ? run.parent : null;
    if (!below.has(parent)) below.set(parent, []);
    below.get(parent)?.push(run);
  }
  for (const each of below.values()) each.sort((a, b) => (a.created < b.created ? -1 : a.created > b.created ? 1 : a.name < b.name ? -1 : 1));
  const rows = [];
  const seen = new Set();
  // an own stack: a chain of a thousand branches is deeper than calls may nest
  const stack = [...(below.get(null) ?? [])].reverse().map((run) => ({ run, depth: 0, lines: [], isLast: true }));
  while (stack.length) {
    const row = stack.pop();
    if (seen.has(row.run.name)) continue;
    seen.add(row.run.name);
    const under = below.get(row.run.name) ?? [];
    rows.push({ ...row, hasMore: under.length > 0 });
    const lines = row.depth ? [...row.lines, !row.isLast] : [];
    for (let index = under.length - 1; index >= 0; index--) {
      stack.push({ run: under[index], depth: row.depth + 1, lines: lines.slice(-DEEPEST), isLast: index === under.length - 1 });
    }
  }
  for (const run of all) if (!seen.has(run.name)) rows.push({ run, depth: 0, lines: [], hasMore: false, isLast: true }); // a circle
  return rows;
}

/** The lines of the tree beside a row. @param {{row: ReturnType<typeof treeRows>[number], height: number, isLive: boolean}} props */
export function Lanes({ row, height, isLive }) {
  const depth = Math.min(row.depth, DEEPEST);
  const x = (level) => level * STEP + 7;
  const middle = height / 2;
  const paths = row.lines.slice(-Math.max(0, depth - 1)).map((goesOn, level) => goesOn && `M${x(level)} 0V${height}`).filter(Boolean);
  if (depth) paths.push(`M${x(depth - 1)} 0V${row.isLast ? middle - 6 : height}M${x(depth - 1)} ${middle - 6}q0 6 6 6H${x(depth)}`);
  if (row.hasMore && row.depth < DEEPEST) paths.push(`M${x(depth)} ${middle}V${height}`);
  const width = x(depth) + 8;
  return html`<svg class="lanes" width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} aria-hidden="true">
    <path d=${paths.join("")} fill="none" stroke="currentColor" />
    <circle cx=${x(depth)} cy=${middle} r="4" class=${isLive ? "dot live" : "dot"} />
    ${row.depth > DEEPEST && html`<title>${row.depth} levels deep</title>`}
  </svg>`;
}
