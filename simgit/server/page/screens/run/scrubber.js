// Moving through the states of a run: steps, episodes, playing, and the next state that fulfils a condition.
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { get } from "../../core/api.js";
import { count, plain } from "../../core/format.js";
import { useKeys } from "../../core/keys.js";
import { useCalm, useLoad } from "../../core/load.js";
import { place, setQuery } from "../../core/router.js";
import { useStore } from "../../core/store.js";
import { fail, say } from "../../parts/notice.js";
import { Branches } from "./branches.js";
import { useSettled } from "./cursor.js";
import { jump } from "./jump.js";

const RATES = [1, 4, 16];
const PER_SECOND = 10; // states, at 1×
const TICK = 50;
const CALM = 120;
const AGAIN = 2000;
/** Episodes that have ended, by run and number. @type {Map<string, any>} */
const ended = new Map();

/** Return where an episode begins and stops. @param {any} run @param {number} number @param {number} all */
export async function episode({ name, oid }, number, all, signal) {
  const known = ended.get(`${name}/${number}`);
  if (known) return known;
  const found = (await get("episodes", oid, { limit: 1, after: number < all ? number + 1 : null }, { signal }))[0] ?? null;
  if (found && found.end !== "open") ended.set(`${name}/${found.episode}`, found);
  return found?.episode === number ? found : null;
}

/**
 * @param {{run: any, past: import("./past.js").Past, step: number, tip: number, isLive: boolean, beyond: number | null,
 *   grows: boolean, state: any, onStep: (step: number | ((now: number) => number)) => void, isPlaying: boolean, onPlay: (isPlaying: boolean) => void}} props
 */
export function Scrubber({ run, past, step, tip, isLive, beyond, grows, state, onStep, isPlaying, onPlay }) {
  const [rate, setRate] = useState(1);
  const number = state?.episode ?? null;
  const all = Math.max(run.episodes ?? 0, number ?? 0);
  const seen = useCalm(tip, AGAIN);
  const asked = useSettled(number, CALM);
  const here = useLoad((signal) => (asked === null ? Promise.resolve(null) : episode(run, asked, all, signal)), [run.name, asked, asked === all ? seen : 0]);
  const first = state && state.episode_step !== undefined ? state.step - state.episode_step : 0;
  const isOwn = here.data && here.data.end !== "open" && here.data.start === first;
  const stop = isOwn ? here.data.stop : tip + 1;

  const to = async (asked) => {
    if (asked < 1 || asked > all) return;
    const found = await episode(run, asked, all, undefined).catch(fail);
    if (found) onStep(found.start);
  };
  const [wanted, setWanted] = useState(/** @type {number | null} */ (null)); // while the slider is dragged
  useEffect(() => {
    if (wanted === null) return undefined;
    const timer = setTimeout(() => to(wanted).finally(() => setWanted((now) => (now === wanted ? null : now))), CALM);
    return () => clearTimeout(timer);
  }, [wanted]);
  const toEpisode = (by) => (by < 0 && step > first ? onStep(first) : to((number ?? 1) + by));
  usePlaying({ isPlaying, rate, past, step, tip, grows, onStep, onPlay });
  const play = () => {
    if (!isPlaying && step >= tip && !grows) onStep(0);
    onPlay(!isPlaying);
  };
  useKeys({
    ArrowLeft: ["a state back", () => onStep((now) => now - 1)], ArrowRight: ["a state on", () => onStep((now) => now + 1)],
    "Shift+ArrowLeft": ["an episode back", () => toEpisode(-1)], "Shift+ArrowRight": ["an episode on", () => toEpisode(1)],
    Home: ["the first state", () => onStep(0)], End: ["the newest state", () => onStep(tip)], Space: ["play or halt", play],
  });
  return html`<section class="panel scrubber" aria-label="Scrubber">
    <div class="buttons" role="group" aria-label="Move">
      <button type="button" aria-label="First state" disabled=${step === 0} onclick=${() => onStep(0)}>⇤</button>
      <button type="button" aria-label="Previous state" disabled=${step === 0} onclick=${() => onStep((now) => now - 1)}>←</button>
      <button type="button" aria-label=${isPlaying ? "Halt" : "Play"} class="play" onclick=${play}>${isPlaying ? "❚❚" : "▶"}</button>
      <button type="button" aria-label="Next state" disabled=${step >= tip} onclick=${() => onStep((now) => now + 1)}>→</button>
      <button type="button" aria-label="Newest state" disabled=${step >= tip} onclick=${() => onStep(tip)}>⇥</button>
      <label><span class="unseen">Speed</span><select value=${rate} onchange=${(event) => setRate(Number(event.target.value))}>
        ${RATES.map((each) => html`<option value=${each}>${each}×</option>`)}</select></label>
    </div>
    <div class="sliders">
      ${all > 1 && html`<label><span>episode ${wanted ?? number ?? "–"}</span>
        <input type="range" aria-label="Episode" min="1" max=${all} value=${wanted ?? number ?? 1} aria-valuetext=${`${number} of ${all}`} oninput=${(event) => setWanted(Number(event.target.value))} /></label>`}
      <label><span>state ${state ? count(step - first) : "–"}</span>
        <input type="range" aria-label="State of the episode" min=${first} max=${Math.max(first, stop - 1)} value=${step} aria-valuetext=${`step ${step}`}
          oninput=${(event) => onStep(Number(event.target.value))} /></label>
    </div>
    <output class="at">step <b>${count(step)}</b> of ${count(tip)}
      ${grows && html` <span class=${isLive ? "following" : "muted"}>${isLive ? "● live" : html`<button type="button" class="quiet" onclick=${() => onStep(tip)}>follow</button>`}</span>`}
      ${beyond !== null && html` <span class="bad">step ${count(beyond)} is not there</span>`}</output>
    <${Jump} oid=${run.oid} step=${step} tip=${tip} onStep=${onStep} />
    <${Branches} run=${run} step=${step} onStep=${onStep} />
  </section>`;
}

/** Move on by the clock; it waits for states that are not read yet. */
function usePlaying({ isPlaying, rate, past, step, tip, grows, onStep, onPlay }) {
  const now = useRef({ step, tip, grows });
  now.current = { step, tip, grows };
  useEffect(() => {
    if (!isPlaying) return undefined;
    let due = 0;
    const timer = setInterval(() => {
      const { step: at, tip: last, grows: isGrowing } = now.current;
      due = Math.min(rate, due + (rate * PER_SECOND * TICK) / 1000); // at 16× some states are passed over
      const by = Math.floor(due);
      if (at >= last) return isGrowing ? undefined : onPlay(false);
      if (!by || !past.at(at)) return undefined;
      due -= by;
      return onStep(Math.min(last, at + by));
    }, TICK);
    return () => clearInterval(timer);
  }, [isPlaying, rate, past]);
}

/** The next or previous state that fulfils a condition, which is part of the address. */
function Jump({ oid, step, tip, onStep }) {
  const where = useStore(place, ({ query }) => query.jump ?? "");
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const control = useRef(/** @type {AbortController | null} */ (null));
  const [isBusy, setBusy] = useState(false);
  async function find(way) {
    const condition = input.current?.value.trim() ?? "";
    setQuery({ jump: condition || null });
    if (!condition) return input.current?.focus();
    control.current?.abort();
    control.current = new AbortController();
    setBusy(true);
    try {
      const found = await jump(oid, step, tip, condition, way, control.current.signal);
      if (found === null) say(`no state ${way > 0 ? "after" : "before"} step ${step} has ${plain(condition)}`);
      else onStep(found);
    } catch (error) {
      fail(error);
    } finally {
      setBusy(false);
    }
    return undefined;
  }
  return html`<form class="jump" onsubmit=${(event) => { event.preventDefault(); find(1); }}>
    <input ref=${input} class="mono" aria-label="Jump to a state that fulfils" placeholder="⌕ terminated and reward < 1" defaultValue=${where} key=${where}
      onkeydown=${(event) => event.key === "Escape" && event.target.blur()} />
    <button type="button" aria-label="Jump back" onclick=${() => find(-1)}>↑</button>
    <button aria-label="Jump on">${isBusy ? "…" : "↓"}</button>
  </form>`;
}
