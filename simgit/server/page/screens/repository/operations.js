// The operations: what each changed, undo, redo, restore, and looking at what there was after one.
import { html, useEffect, useState } from "../../vendor/preact.js";
import { get, send, session, url } from "../../core/api.js";
import { ago, command, number, plain, plural, quoted } from "../../core/format.js";
import { useKeys } from "../../core/keys.js";
import { on } from "../../core/live.js";
import { useCalm, useLoad } from "../../core/load.js";
import { asOf, place, setQuery } from "../../core/router.js";
import { useStore } from "../../core/store.js";
import { confirm } from "../../parts/dialog.js";
import { attempt } from "../../parts/notice.js";
import { Table } from "../../parts/table.js";
import { Changes } from "./changes.js";

const PAGE = 200;
const AGAIN = 500;

/** The list of operations, newest first, with the chosen one beside it. */
export function Operations() {
  const at = useStore(place, ({ query }) => query.at ?? null);
  const mayWrite = useStore(session, (value) => Boolean(value?.can_write));
  const [told, setTold] = useState(0);
  useEffect(() => on("operation", () => setTold((count) => count + 1)), []);
  const calm = useCalm(told, AGAIN);
  const [limit, setLimit] = useState(PAGE);
  const found = useLoad((signal) => pages(limit, signal), [calm, limit]);
  const rows = found.data?.rows ?? [];
  const newest = rows[0]?.number ?? 0;
  const current = rows.some((row) => String(row.number) === at) ? Number(at) : newest;
  const show = (key) => setQuery({ at: Number(key) === newest ? null : key });
  const move = (by) => {
    const place = rows.findIndex((row) => row.number === current) + by;
    if (rows[place]) show(String(rows[place].number));
  };
  useKeys({ j: ["operation before", () => move(1)], k: ["operation after", () => move(-1)] });

  const write = (work, text, line) => attempt(() => work({ headers: { "If-Match": `"${newest}"` } }), text, line);
  const undo = (operation) => write((more) => send("POST", "/v1/undo", { body: { operation }, ...more }), `undone: operation ${operation}`, command("undo", operation));
  const redo = () => write((more) => send("POST", "/v1/redo", more), "redone", command("redo"));
  const restore = async (operation) => {
    const text = `Runs, tags, HEAD and attachments become what they were after operation ${operation}. This is an operation too, which undo takes back.`;
    if (await confirm(`Restore what was after operation ${operation}?`, text, "Restore")) {
      await write((more) => send("POST", url("restore", String(operation)), more), `restored: as after operation ${operation}`, command("op", "restore", operation));
    }
  };
  const chosen = rows.find((row) => row.number === current);

  return html`<div class="split">
    <div>
      <div class="tools"><span role="status">${found.data ? `${plural(rows.length, "operation")}${found.data.hasMore ? ", there are more" : ""}` : found.error ? "" : "reading …"}</span><span class="spread"></span>
        ${mayWrite && html`<button type="button" onclick=${redo}>Redo</button>`}
        ${found.data?.hasMore && html`<button type="button" onclick=${() => setLimit(limit + 5 * PAGE)}>Read more</button>`}</div>
      ${found.error && html`<p class="error" role="alert">${plain(found.error.message)}</p>`}
      <${Table} label="Operations" columns=${COLUMNS} rows=${rows} rowKey=${(row) => String(row.number)} current=${String(current)} onCurrent=${show}
        onOpen=${(row) => look(row.number)} empty=${found.data ? "Nothing has been done yet." : "reading …"} />
    </div>
    ${chosen && html`<section class="panel" aria-label=${`Operation ${chosen.number}`}>
      <header><h2>Operation ${chosen.number}</h2><code>${plain(words(chosen))}</code></header>
      <p class="muted">${ago(chosen.time)}, by process ${chosen.process.pid}${chosen.session ? ", which recorded" : ""}${chosen.reverts === null ? "" : `; it reverts operation ${chosen.reverts}`}</p>
      <div class="tools">
        ${mayWrite && html`<button type="button" onclick=${() => undo(chosen.number)}>Undo ${chosen.number}</button>
          <button type="button" disabled=${chosen.number === newest} onclick=${() => restore(chosen.number)}>Restore to here</button>`}
        <button type="button" disabled=${asOf() === chosen.number} onclick=${() => look(chosen.number)}>Look at ${chosen.number}</button>
      </div>
      <${Changes} operation=${chosen.number} />
    </section>`}
  </div>`;
}

/** Show the whole page as it was after an operation. */
const look = (operation) => setQuery({ as_of: operation }, false);

const words = (row) => [...(row.command === "http" ? [] : [row.command]), ...row.arguments.map(quoted)].join(" ");

const COLUMNS = [
  { key: "number", title: "#", isNumber: true, width: "4.5rem", draw: (row) => number(row.number) },
  { key: "what", title: "what", width: "minmax(10rem, 3fr)", draw: (row) => html`<span title=${plain(words(row))}>${plain(words(row))}</span>${row.reverts === null ? null : html` <span class="muted">reverts ${row.reverts}</span>`}${asOf() === row.number ? html` <b>shown</b>` : null}` },
  { key: "changes", title: "changes", isNumber: true, width: "5rem", draw: (row) => number(row.changes) },
  { key: "time", title: "when", width: "7rem", draw: (row) => html`<time datetime=${row.time} title=${row.time}>${ago(row.time)}</time>` },
];

/** Read as many of the newest operations, in pages that the server allows. */
async function pages(limit, signal) {
  const rows = [];
  let hasMore = true;
  while (hasMore && rows.length < limit) {
    const size = Math.min(1000, limit - rows.length);
    const next = await get("operations", "", { limit: size, after: rows.length ? rows[rows.length - 1].number : null }, { signal });
    rows.push(...next);
    hasMore = next.length === size;
  }
  return { rows, hasMore };
}
