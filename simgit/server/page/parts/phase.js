// How a run is, in a word: the phase of its simulation, or the status that it ended with.
import { html } from "../vendor/preact.js";
import { number, plain, seconds } from "../core/format.js";

const SIGNS = { running: "▶", starting: "▶", paused: "❚❚", frozen: "❚❚", asking: "?", queued: "…", stopping: "■", completed: "✓", failed: "✕", crashed: "✕", active: "●" };

/** Return the phase of a simulation that runs or waits, else the run's status. @param {any} run @param {any} simulation */
export const phaseOf = (run, simulation) =>
  simulation && simulation.phase !== "ended" && !simulation.outcome ? simulation.phase : (run?.status ?? "active");

/** A word with a sign and a colour. @param {{run: any, simulation?: any}} props */
export function Phase({ run, simulation }) {
  const phase = phaseOf(run, simulation);
  const reason = simulation?.reason && simulation.outcome ? simulation.reason : null;
  return html`<span class=${`phase ${phase}`} title=${reason ? plain(reason) : null}><span aria-hidden="true">${SIGNS[phase] ?? "●"}</span> ${phase}</span>`;
}

/** How far a simulation is. @param {{progress: {done: number, total: number | null, stage?: string | null, left?: number | null} | null}} props */
export function Progress({ progress }) {
  if (!progress || progress.done === undefined || progress.done === null) return null;
  const { done, total, stage, left } = progress;
  if (!total) return html`<span class="muted">${number(done)}${stage ? ` ${plain(stage)}` : ""}</span>`;
  return html`<span class="progress"><progress max=${total} value=${done} aria-label=${`${done} of ${total}`}></progress>
    ${Math.floor((100 * done) / total)} %${left === null || left === undefined ? "" : ` ${seconds(left)} left`}</span>`;
}
