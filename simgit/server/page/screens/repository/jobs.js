// The jobs of the repository: how far each is, how it ended, and its end before its time.
import { html, useState } from "../../vendor/preact.js";
import { get, send, url } from "../../core/api.js";
import { ago, json, plain } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { attempt } from "../../parts/notice.js";
import { Progress } from "../../parts/phase.js";
import { Table } from "../../parts/table.js";

const OUTCOMES = { completed: "✓ completed", failed: "✕ failed", crashed: "✕ crashed", cancelled: "■ cancelled" };

/** @param {{jobs: any[] | undefined, mayWrite: boolean, onChange: () => void}} props */
export function Jobs({ jobs, mayWrite, onChange }) {
  const [at, setAt] = useState(/** @type {string | null} */ (null));
  const rows = jobs ?? [];
  const current = rows.some((row) => String(row.job) === at) ? at : rows.length ? String(rows[0].job) : null;
  const chosen = rows.find((row) => String(row.job) === current);
  const end = (job) => attempt(async () => {
    await send("DELETE", url("jobs", String(job.job)));
    onChange();
  }, job.outcome ? `job ${job.job} is forgotten` : `job ${job.job} is asked to end`);
  const columns = [
    { key: "job", title: "job", isNumber: true, width: "4rem", draw: (row) => row.job },
    { key: "kind", title: "what", width: "minmax(8rem, 2fr)", draw: (row) => plain(row.arguments.filter((word) => !["--json", "{bundle}", "--"].includes(word)).join(" ")) },
    { key: "phase", title: "status", width: "9rem", draw: (row) => html`<span class=${`phase ${row.outcome ?? row.phase}`}>${OUTCOMES[row.outcome] ?? row.phase}</span>` },
    { key: "progress", title: "progress", width: "minmax(8rem, 2fr)", draw: (row) => (row.outcome ? html`<span class="muted">${plain(row.reason ?? "")}</span>` : html`<${Progress} progress=${row.progress} />`) },
    { key: "created", title: "begun", width: "7rem", draw: (row) => ago(row.created) },
    { key: "action", title: html`<span class="unseen">actions</span>`, width: "11rem", draw: (row) => html`
      ${row.kind === "exports" && row.outcome === "completed" && html`<a href=${url("exports", String(row.job))} download>save the bundle</a> `}
      ${mayWrite && html`<button type="button" class="quiet" aria-label=${`${row.outcome ? "Forget" : "Cancel"} job ${row.job}`} onclick=${() => end(row)}>${row.outcome ? "forget" : "cancel"}</button>`}` },
  ];
  return html`<h2 class="heading">Jobs</h2>
    <${Table} label="Jobs" rows=${rows} rowKey=${(row) => String(row.job)} columns=${columns} current=${current} onCurrent=${setAt}
      empty=${jobs ? "No job has run in the last day." : "reading …"} />
    ${chosen?.outcome && html`<${Result} key=${chosen.job} job=${chosen.job} />`}`;
}

/** What a job that has ended said. */
function Result({ job }) {
  const found = useLoad((signal) => get("jobs", String(job), {}, { signal }), [job]);
  if (!found.data) return null;
  const { result, lines, error, kind } = found.data;
  const told = result && typeof result === "object" && !Array.isArray(result) ? Object.entries(result) : [];
  return html`<section class="panel" aria-label=${`Result of job ${job}`}><h2>Job ${job}: ${kind}</h2>
    ${error && html`<p class="error">${plain(error.detail)}</p>`}
    ${told.length > 0 && html`<dl class="entries">${told.map(([name, value]) => html`<div key=${name}><dt>${plain(name.replaceAll("_", " "))}</dt><dd>${shown(value)}</dd></div>`)}</dl>`}
    ${!told.length && result !== null && html`<pre>${plain(JSON.stringify(result, null, 1))}</pre>`}
    ${lines?.length > 0 && html`<pre>${plain(lines.join("\n"))}</pre>`}</section>`;
}

const shown = (value) => (value === true ? "yes" : value === false ? "no" : value === null ? "–" : typeof value === "object" && !Object.keys(value).length ? "none" : json(value, 400));
