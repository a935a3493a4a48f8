// A film of a stretch of a run: restored and rendered by the server when somebody wants it.
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { get, send, url } from "../../core/api.js";
import { bytes, command, count, plain, plural } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { closeDialog, Dialog, openDialog } from "../../parts/dialog.js";
import { Input, readField } from "../../parts/form.js";
import { episode } from "./scrubber.js";

const MOST = { mp4: 3600, gif: 600 }; // frames, as GET /v1/films has it
const PATIENCE = 120; // seconds that the server takes at most
const whole = (path, more = {}) => ({ path, keys: [path], kind: /** @type {const} */ ("integer"), isRequired: true, ...more });
const FPS = { path: "fps", keys: ["fps"], kind: /** @type {const} */ ("number"), isRequired: false, minimum: 0.1, maximum: 240 };
const EVERY = whole("every", { minimum: 1 });

/** Ask which stretch is to be filmed. @param {any} run @param {any} state that is shown @param {string | null} why there can be none */
export function openFilm(run, state, why) {
  openDialog(() => html`<${FilmDialog} run=${run} state=${state} why=${why} />`);
}

function FilmDialog({ run, state, why: known }) {
  const plan = useLoad((signal) => (known ? Promise.resolve(null) : get("plan", state.oid, {}, { signal })), []);
  const why = known ?? (plan.error ? plan.error.message : plan.data && !plan.data.how ? plan.data.why : null);
  const tip = run.step;
  const [stretch, setStretch] = useState("episode");
  const [format, setFormat] = useState("mp4");
  const [texts, setTexts] = useState({ first: "0", last: String(tip), fps: "", every: "1" });
  const here = useLoad((signal) => episode(run, state.episode, Math.max(run.episodes ?? 0, state.episode), signal), []);
  const making = useFilm();
  const set = (name) => (text) => { setTexts((before) => ({ ...before, [name]: text })); making.clear(); };
  const choose = (change) => (event) => { change(event.target.value); making.clear(); };
  const bound = { minimum: 0, maximum: tip };
  const [first, last, fps, every] = [readField(whole("first", bound), texts.first), readField(whole("last", bound), texts.last), readField(FPS, texts.fps), readField(EVERY, texts.every)];
  const lastError = last.error ?? (!first.error && Number(last.value) < Number(first.value) ? "before the first" : undefined);
  const start = { episode: here.data?.start, run: 0, range: first.error ? undefined : Number(first.value) }[stretch];
  const stop = { episode: here.data && (here.data.end === "open" ? tip + 1 : here.data.stop), run: tip + 1, range: lastError ? undefined : Number(last.value) + 1 }[stretch];
  const step = every.error ? 1 : Number(every.value);
  const isKnown = start !== undefined && stop !== undefined && stop > start && !fps.error && !every.error;
  const framesOf = (by) => Math.ceil((stop - start - 1) / by) + 1;
  const needed = isKnown ? Math.ceil((stop - start - 1) / (MOST[format] - 1)) : 1; // states a frame
  const isLong = isKnown && framesOf(step) > MOST[format];
  const of = (name) => ({ episode: `${name}@ep${state.episode}`, run: name, range: start ? `${name}@${start - 1}..${name}@${stop - 1}` : `${name}@${stop - 1}` })[stretch];
  const file = `${of(run.name).replaceAll(/[/@]/g, "-")}.${format}`;
  const to = url("films", of(run.oid), { format, fps: fps.value, every: step === 1 ? null : step });
  const same = command("video", of(run.name), "--output", file, ...(fps.value === undefined ? [] : ["--fps", fps.value]), ...(step === 1 ? [] : ["--every", step]));
  const submit = (event) => {
    event.preventDefault();
    if (isKnown && !isLong && !why) making.start(to);
  };
  return html`<${Dialog} title=${`Film of ${plain(run.name)}`} isWide>
    <form class="start film" onsubmit=${submit} novalidate>
      ${why && html`<p class="said" role="status">No film can be made: ${plain(why)}</p>`}
      <div class="row">
        <div class="field"><label for="film-stretch">stretch</label><select id="film-stretch" autofocus value=${stretch} onchange=${choose(setStretch)}>
          <option value="episode">this episode (${count(state.episode)})</option><option value="run">the whole run</option><option value="range">from step to step</option></select></div>
        ${stretch === "range" && html`<${Input} id="film-first" label="first step" field=${whole("first")} text=${texts.first} error=${first.error} onText=${set("first")} />
          <${Input} id="film-last" label="last step" field=${whole("last")} text=${texts.last} error=${lastError} onText=${set("last")} />`}
        <div class="field"><label for="film-format">format</label><select id="film-format" value=${format} onchange=${choose(setFormat)}>
          <option value="mp4">MP4</option><option value="gif">GIF</option></select></div>
        <${Input} id="film-fps" label="frames per second" field=${FPS} text=${texts.fps} error=${fps.error} hint="empty: the environment's" onText=${set("fps")} />
        <${Input} id="film-every" label="states per frame" field=${EVERY} text=${texts.every} error=${every.error} onText=${set("every")} />
      </div>
      <p class="how" role="status">${here.error ? plain(here.error.message) : !isKnown ? "" : isLong
        ? html`${plural(framesOf(step), "frame")}, of which a film has at most ${count(MOST[format])}: <button type="button" onclick=${() => set("every")(String(needed))}>${`Take ${plural(needed, "state")} per frame`}</button>`
        : html`${plural(framesOf(step), "frame")} <span class="muted">of steps ${count(start)} to ${count(stop - 1)}</span>`}</p>
      <${Made} making=${making} file=${file} format=${format} name=${run.name} />
      <pre class="same" role="group" aria-label="The command that does the same" tabindex="0">${plain(same)}</pre>
      <footer><button type="button" onclick=${closeDialog}>${making.to ? "Close" : "Cancel"}</button>
        ${making.to ? html`<a class="button main" href=${making.to} download=${file}>⤓ Download ${bytes(making.size)}</a>`
          : html`<button class="main" disabled=${!isKnown || isLong || Boolean(why) || making.since !== null}>Make the film</button>`}</footer>
    </form>
  </${Dialog}>`;
}

/** How far the film is, or the film. */
function Made({ making, format, name }) {
  const [, tick] = useState(0);
  useEffect(() => {
    if (making.since === null) return undefined;
    const timer = setInterval(() => tick((times) => times + 1), 500);
    return () => clearInterval(timer);
  }, [making.since]);
  if (making.error) return html`<p class="error" role="alert">${plain(making.error.message)}</p>`;
  if (making.since !== null) return html`<p class="how" role="status"><progress aria-label="Making the film"></progress> restoring and rendering … <span class="muted">${Math.floor((performance.now() - making.since) / 1000)} s, at most ${PATIENCE} s</span></p>`;
  if (!making.to) return null;
  return format === "gif" ? html`<img class="medium" src=${making.to} alt=${`Film of ${plain(name)}`} />`
    : html`<video class="medium" src=${making.to} aria-label=${`Film of ${plain(name)}`} controls preload="auto"></video>`;
}

/** Return what has a film made: its first byte comes when it is there, and the rest from the same address. */
function useFilm() {
  const none = { to: "", size: 0, since: /** @type {number | null} */ (null), error: /** @type {any} */ (null) };
  const [state, set] = useState(none);
  const control = useRef(/** @type {AbortController | null} */ (null));
  useEffect(() => () => control.current?.abort(), []);
  return {
    ...state,
    clear: () => { control.current?.abort(); set(none); },
    async start(to) {
      control.current?.abort();
      const mine = (control.current = new AbortController());
      set({ ...none, since: performance.now() });
      try {
        const response = await send("GET", to, { as: "response", signal: mine.signal, headers: { Range: "bytes=0-0" } });
        await response.arrayBuffer();
        const size = Number(response.headers.get("Content-Range")?.split("/")[1] ?? 0);
        if (!mine.signal.aborted) set({ ...none, to, size });
      } catch (error) {
        if (!mine.signal.aborted) set({ ...none, error });
      }
    },
  };
}
