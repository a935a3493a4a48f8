// Work that takes long, as jobs: gc, fsck, verify and export.
import { html, useEffect, useState } from "../../vendor/preact.js";
import { get, send, session, url } from "../../core/api.js";
import { bytes, command, plain, plural } from "../../core/format.js";
import { on } from "../../core/live.js";
import { isMissing, useLoad } from "../../core/load.js";
import { runs } from "../../core/runs.js";
import { Store, useStore } from "../../core/store.js";
import { confirm } from "../../parts/dialog.js";
import { attempt, fail } from "../../parts/notice.js";
import { Jobs } from "./jobs.js";

const PACE = 500;
const again = new Store(0);
const look = () => again.set((count) => count + 1);

/** Start a job; return what is known of it. */
const start = (noun, name, body, line) => attempt(async () => {
  const found = await send("POST", url(noun, name), { body });
  look();
  return found;
}, `${noun} has begun`, line);

/** Wait for the end of a job; return its result. @param {number} number */
async function ended(number) {
  for (;;) {
    const found = await get("jobs", String(number));
    if (found.outcome === "completed") return found.result;
    if (found.outcome) throw new Error(`${found.kind} ${found.outcome}: ${found.reason ?? "it was cancelled"}`);
    await new Promise((resolve) => setTimeout(resolve, PACE));
  }
}

/** The buttons that start jobs, and the jobs. */
export function Upkeep() {
  const mayWrite = useStore(session, (value) => Boolean(value?.can_write));
  const known = useStore(runs);
  const time = useStore(again);
  const [run, setRun] = useState("");
  const [isAsking, setAsking] = useState(false);
  const found = useLoad((signal) => get("jobs", "", {}, { signal }), [time]);
  useEffect(() => on("job", look), []);
  const isBusy = (found.data ?? []).some((job) => !job.outcome);
  useEffect(() => {
    if (!isBusy) return undefined;
    const timer = setInterval(look, 2 * PACE);
    return () => clearInterval(timer);
  }, [isBusy]);

  async function collect() {
    setAsking(true);
    try {
      const job = await start("gc", "", { dry_run: true }, command("gc", "--dry-run"));
      if (!job) return;
      const would = await ended(job.job);
      const yes = await confirm("Remove unreachable objects?", wouldRemove(would), "Remove and compact");
      if (yes) await start("gc", "", {}, command("gc"));
    } catch (error) {
      fail(error);
    } finally {
      setAsking(false);
    }
  }
  if (isMissing(found.error)) return html`<p class="muted">Jobs are not available here; <code>simgit gc</code>, <code>fsck</code>, <code>verify</code> and <code>bundle create</code> do the same in the terminal.</p>`;
  const names = [...(known?.keys() ?? [])];
  const one = names.includes(run) ? run : (names[0] ?? "");
  return html`${!mayWrite && html`<p class="muted">Nothing can be started here: this token, or this moment, only reads.</p>`}
    ${mayWrite && html`<div class="grid">
      <section class="panel" aria-label="Collect garbage"><h2>Garbage</h2><p class="muted">Says first what would be removed, then removes and compacts.</p>
        <button type="button" disabled=${isAsking} onclick=${collect}>${isAsking ? "looking …" : "gc …"}</button></section>
      <section class="panel" aria-label="Check"><h2>Check</h2><p class="muted">Recomputes every hash and follows every link; repairs nothing.</p>
        <button type="button" onclick=${() => start("fsck", "", {}, command("fsck"))}>fsck</button></section>
      <section class="panel" aria-label="Run"><h2>A run</h2><p class="muted">Verify re-executes its actions and compares the states; export makes a bundle.</p>
        <div class="tools"><label>run <select value=${one} onchange=${(event) => setRun(event.target.value)}>${names.map((name) => html`<option key=${name} value=${name}>${plain(name)}</option>`)}</select></label>
          <button type="button" disabled=${!one} onclick=${() => start("verify", one, undefined, command("verify", one))}>verify</button>
          <button type="button" disabled=${!one} onclick=${() => start("exports", "", { refs: [one] }, command("bundle", "create", "FILE", one))}>export</button></div></section>
      <section class="panel" aria-label="Export all"><h2>Everything</h2><p class="muted">All runs and tags in one bundle, to be imported elsewhere.</p>
        <button type="button" onclick=${() => start("exports", "", { all: true }, command("bundle", "create", "--all", "FILE"))}>export all</button></section>
    </div>`}
    ${found.error ? html`<p class="error" role="alert">${plain(found.error.message)}</p>` : html`<${Jobs} jobs=${found.data} mayWrite=${mayWrite} onChange=${look} />`}`;
}

/** Tell what a dry run has found. */
function wouldRemove(found) {
  if (!found || typeof found !== "object") return "It did not say what would be removed.";
  const parts = [found.states && plural(found.states, "state"), found.attachments && plural(found.attachments, "attachment"), found.thinned && `${plural(found.thinned, "attachment")} by the retention rules`].filter(Boolean);
  return parts.length || found.bytes ? `It would free ${bytes(found.bytes ?? 0)}${parts.length ? `: ${parts.join(", ")}` : ""}. What is removed cannot be brought back.` : "There is nothing to remove; it would only compact the store.";
}
