// All runs, as a tree and as a table, with the curves of those that are chosen.
import { html, useMemo, useState } from "../vendor/preact.js";
import { get, send, session, url } from "../core/api.js";
import { command, json, number, plain, plural } from "../core/format.js";
import { useKeys } from "../core/keys.js";
import { useCalm, useLoad } from "../core/load.js";
import { address, go, place, setQuery } from "../core/router.js";
import { changes, runs, simulations } from "../core/runs.js";
import { useStore } from "../core/store.js";
import { flat } from "../core/words.js";
import { ColumnChoice, GroupChoice, namesIn } from "../parts/choosers.js";
import { Curves } from "../parts/curves.js";
import { confirm } from "../parts/dialog.js";
import { attempt, say } from "../parts/notice.js";
import { Phase, phaseOf, Progress } from "../parts/phase.js";
import { Table } from "../parts/table.js";
import { Lanes, treeRows } from "../parts/tree.js";
import { Views } from "../parts/views.js";

const HEIGHT = 30;
const DRAWN = 10;
const AGAIN = 1000;

/** The screen of all runs. */
export function Screen() {
  const { query } = useStore(place);
  const known = useStore(runs);
  const live = useStore(simulations);
  const mayWrite = useStore(session, (value) => Boolean(value?.can_write));
  const [chosen, setChosen] = useState(/** @type {Set<string>} */ (new Set()));
  const asked = Boolean(query.where || query.sort || query.columns || query.group);
  const change = useCalm(useStore(changes), AGAIN);
  const extra = namesIn(query.columns);
  const select = ["name", ...extra].join(",");
  const found = useLoad((signal) => {
    if (!asked) return Promise.resolve(null);
    const more = query.group ? { group: query.group } : { columns: select };
    return get("runs", "", { where: query.where, sort: query.sort, limit: 10_000, ...more }, { signal });
  }, [query.where, query.sort, select, query.group, asked ? change : 0]);

  const rows = useMemo(() => rowsOf(known, asked ? (found.data ?? null) : null, query), [known, found.data, asked, query.group, query.where, query.sort]);
  const names = rows.filter((row) => row.run).map((row) => row.run.name);
  const currentOf = ({ at }) => (at && names.includes(at) ? at : (names[0] ?? null));
  const current = currentOf(query);
  const now = () => currentOf(place.value.query); // keys may come before the next drawing
  const drawn = chosen.size ? [...chosen].filter((name) => known?.has(name)) : names.filter((name) => known?.get(name)?.oid).slice(0, DRAWN);

  const choose = (name) => setChosen((before) => {
    const next = new Set(before);
    if (!next.delete(name)) next.add(name);
    return next;
  });
  const move = (by) => {
    const at = Math.min(names.length - 1, Math.max(0, names.indexOf(now() ?? "") + by));
    if (names.length) setQuery({ at: names[at] });
  };
  const open = (name) => name && go(address("run", name));
  useKeys({
    j: ["next run", () => move(1)], k: ["run before", () => move(-1)], x: ["choose the run", () => now() && choose(now())],
    Enter: ["open the run", () => open(now())], c: ["compare two chosen runs", () => compare()],
    f: ["fork the run at its newest state", () => now() && fork(now())],
  });
  const compare = () => (chosen.size === 2 ? go(address("compare", "", pair(chosen))) : say("choose two runs with x, then compare them"));
  const fork = async (name) => (await import("./fork.js")).openFork(name);

  const columns = useMemo(() => [
    { key: "choose", title: html`<span class="unseen">chosen</span>`, width: "2rem", draw: (row) => row.run &&
      html`<input type="checkbox" tabindex="-1" aria-label=${`Choose ${row.run.name}`} checked=${chosen.has(row.run.name)} onclick=${(event) => event.stopPropagation()} onchange=${() => choose(row.run.name)} />` },
    { key: "name", title: "run", sort: "name", width: "minmax(12rem, 2fr)", draw: (row) => (row.run
      ? html`<${Lanes} row=${row} height=${HEIGHT} isLive=${isLive(row.run, live.get(row.run.name))} /><a href=${address("run", row.run.name)} tabindex="-1">${plain(row.run.name)}</a>`
      : html`<b>${plain(query.group)} = ${json(row.group)}</b> <span class="muted">${plural(row.count, "run")}</span>`) },
    { key: "phase", title: "status", sort: "status", width: "7rem", draw: (row) => row.run && html`<${Phase} run=${row.run} simulation=${live.get(row.run.name)} />` },
    { key: "progress", title: "progress", width: "minmax(6rem, 1fr)", draw: (row) => row.run && html`<${Doing} run=${row.run} simulation=${live.get(row.run.name)} />` },
    { key: "step", title: "step", sort: "step", isNumber: true, width: "6rem", draw: (row) => row.run && number(row.run.step) },
    { key: "episodes", title: "episodes", sort: "episodes", isNumber: true, width: "6rem", draw: (row) => row.run && number(row.run.episodes) },
    { key: "return", title: "return", sort: "return", isNumber: true, width: "6rem", draw: (row) => row.run && number(row.run.return) },
    ...extra.map((name) => ({ key: `+${name}`, title: plain(name), sort: name, isNumber: true, width: "7rem", draw: (row) => row.run && (row.values?.[name] == null ? "–" : json(row.values[name])) })),
    { key: "config", title: "own settings", width: "minmax(8rem, 2fr)", draw: (row) => row.run && html`<span class="muted">${settings(row.run)}</span>` },
  ], [chosen, live, query.columns, query.group]);

  return html`<div class="runs">
    <h1 class="unseen">Runs</h1>
    <div class="tools">
      <span>${counts(known, live)}</span><span class="spread"></span>
      <${GroupChoice} /><${ColumnChoice} /><${Views} />
      ${mayWrite && html`<button type="button" class="main" onclick=${async () => (await import("./fork.js")).openStart()}>Start a simulation</button>`}
    </div>
    ${found.error && html`<p class="error" role="alert">${plain(found.error.message)}</p>`}
    <${Table} label="Runs" columns=${columns} rows=${rows} rowKey=${(row) => row.key} height=${HEIGHT} current=${current}
      onCurrent=${(name) => setQuery({ at: name })} onOpen=${(row) => open(row.run?.name)} isChosen=${(row) => chosen.has(row.key)}
      sorted=${query.sort} onSort=${(name) => setQuery({ sort: name || null })}
      empty=${known === null ? "reading …" : asked ? "No run fulfils the condition." : html`No runs yet: <code>simgit record CartPole-v1 --run first</code> records one.`} />
    ${chosen.size > 0 && html`<div class="tools chosen" role="group" aria-label="Chosen runs">
      <b>${plural(chosen.size, "run")} chosen</b>
      <button type="button" disabled=${chosen.size !== 2} onclick=${compare}>Compare</button>
      ${mayWrite && html`<button type="button" onclick=${() => stopAll([...chosen], live)}>Stop</button>
        <button type="button" onclick=${async () => (await removeAll([...chosen])) && setChosen(new Set())}>Delete</button>`}
      <button type="button" class="quiet" onclick=${() => setChosen(new Set())}>Choose none</button>
    </div>`}
    <${Curves} names=${drawn} onPick=${(run, step) => go(address("run", run, { step }))} hint="No run has states yet." />
  </div>`;
}

const isLive = (run, simulation) => ["running", "starting", "asking"].includes(phaseOf(run, simulation)) && Boolean(simulation);
const pair = (chosen) => { const [a, b] = [...chosen]; return { a, b }; };
const settings = (run) => flat(run.overrides).map(([key, value]) => `${plain(key)} ${json(value, 40)}`).join("  ");

/** What a simulation does, or asks. */
function Doing({ run, simulation }) {
  const question = simulation?.questions?.[0];
  if (question) return html`<a class="asks" tabindex="-1" href=${address("run", run.name, { tab: "control" })}>asks: ${plain(question.text)}</a>`;
  if (!simulation || simulation.outcome) return simulation?.outcome && !["completed"].includes(simulation.outcome) ? html`<span class="muted">${plain(simulation.reason ?? simulation.outcome)}</span>` : null;
  return html`<${Progress} progress=${simulation.progress} />`;
}

function counts(known, live) {
  if (!known) return "";
  const phases = [...live.values()].map((each) => (each.outcome ? "" : each.phase));
  const tell = (phase, word) => { const n = phases.filter((each) => each === phase).length; return n ? ` · ${n} ${word}` : ""; };
  return `${plural(known.size, "run")}${tell("running", "running")}${tell("queued", "queued")}${tell("paused", "paused")}${tell("asking", "asking")}`;
}

/** Return the rows of the table: the tree, or what the server has found. */
function rowsOf(known, found, query) {
  const flat = (run, more = {}) => ({ key: run.name, run, depth: 0, lines: [], hasMore: false, isLast: true, ...more });
  if (!known) return [];
  if (query.group && found && found[0]?.runs) {
    return found.flatMap((group) => [{ key: `=${JSON.stringify(group.value)}`, group: group.value, count: group.count },
      ...group.runs.filter((name) => known.has(name)).map((name) => flat(known.get(name)))]);
  }
  if (found && !query.group) {
    const values = new Map(found.map((row) => [row.name, row]));
    if (!query.where && !query.sort) return treeRows(known.values()).map((row) => ({ ...row, key: row.run.name, values: values.get(row.run.name) }));
    return found.filter((row) => known.has(row.name)).map((row) => flat(known.get(row.name), { values: row }));
  }
  return query.where || query.sort || query.group ? [] : treeRows(known.values()).map((row) => ({ ...row, key: row.run.name }));
}

async function stopAll(names, live) {
  const running = names.filter((name) => live.has(name) && !live.get(name).outcome);
  if (!running.length) return say("none of these runs has a simulation that runs or waits");
  await Promise.all(running.map((name) => attempt(() => send("POST", url("simulations/stop", name), { body: { timeout: 10 } }), `stopped ${name}`, command("sim", "stop", name))));
  return undefined;
}

async function removeAll(names) {
  if (!(await confirm(`Delete ${plural(names.length, "run")}?`, `${names.map(plain).join(", ")}. Undo brings them back.`, "Delete"))) return false;
  for (const name of names) await attempt(() => send("DELETE", url("runs", name)), `deleted ${name}`, command("branch", "-d", name));
  return true;
}
