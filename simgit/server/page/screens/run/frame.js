// The image of a state, restored on demand: nothing needs to have been filmed.
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { send, session, url } from "../../core/api.js";
import { plain, plural, seconds } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { useStore } from "../../core/store.js";
import { openFilm } from "./film.js";
import { openPlayOn } from "./play_on.js";

const WIDTH = 640;

/** Return in a line why something is not shown. @param {any} error */
const why = (error) => (error.status === 405 || error.status === 501 || (error.status === 404 && error.record?.title === "Not found")
  ? "this server makes no frames" : error.message);

/**
 * @param {{run: any, state: any, calm: string | undefined, isPlaying: boolean, onShown: (isShown: boolean) => void}} props
 *   calm: the state on which the person has stopped; onShown: told whether there is an image, so that the place is given to others where there is none
 */
export function Frame({ run, state, calm, isPlaying, onShown }) {
  const oid = state?.oid;
  const wanted = isPlaying ? oid : calm;
  const isSeen = useSeen();
  const plan = useLoad((signal) => (calm ? send("GET", url("plan", calm), { signal }) : Promise.resolve(null)), [calm]);
  const [shown, setShown] = useState(/** @type {{source: string, oid: string} | null} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const busy = useRef(false);
  const next = useRef(/** @type {string | undefined} */ (undefined));
  const isPossible = Boolean(plan.data?.how);
  next.current = isSeen.value && isPossible ? wanted : undefined;

  useEffect(() => {
    if (busy.current || !next.current || next.current === shown?.oid) return;
    busy.current = true;
    const asked = next.current;
    read(asked).then((source) => {
      setShown((before) => {
        if (before) URL.revokeObjectURL(before.source);
        return { source, oid: asked };
      });
      setError(null);
    }, (found) => {
      setShown(null);
      setError(why(found));
    }).finally(() => { busy.current = false; });
  }, [wanted, isPossible, isSeen.value, shown, error]);
  useEffect(() => () => shown && URL.revokeObjectURL(shown.source), []);

  const said = plan.error ? why(plan.error) : plan.data && !plan.data.how ? plan.data.why : error;
  const isShown = Boolean(shown) && !said;
  useEffect(() => onShown(isShown), [isShown]);
  const more = html`<${More} run=${run} state=${state} why=${said} />`;
  if (said) return html`<div class="no-frame" ref=${isSeen.ref}><span class="muted">No frame: ${plain(said)}</span>${more}</div>`;
  if (!shown) return html`<div class="no-frame" ref=${isSeen.ref}><span class="muted" role="status">Frame: ${plan.data ? "restoring the state …" : "…"}</span>${more}</div>`;
  return html`<section class="panel frame" aria-label="Frame" ref=${isSeen.ref}>
    <img src=${shown.source} alt="The state as it is rendered" aria-busy=${shown.oid !== oid} data-step=${shown.oid === oid ? state.step : null} />
    <div class="no-frame"><span class="muted">${plan.data ? told(plan.data) : ""}</span>${more}</div>
  </section>`;
}

/** What can be made of a state that is restored. @param {{run: any, state: any, why: string | null}} props why: there is no image */
function More({ run, state, why: said }) {
  const mayWrite = useStore(session, (value) => Boolean(value?.can_write));
  return state && html`<span class="buttons" role="group" aria-label="From this state">
    ${mayWrite && html`<button type="button" onclick=${() => openPlayOn(run, state.step)}>▶ Play on from here</button>`}
    <button type="button" onclick=${() => openFilm(run, state, said)}>Film</button></span>`;
}

async function read(oid) {
  const response = await send("GET", url("frames", oid, { width: WIDTH }), { as: "response" });
  return URL.createObjectURL(await response.blob());
}

/** How a state is reached, in a line. */
function told(plan) {
  const exact = { true: "exact", false: "not exact", null: "not verified" }[String(plan.exact)];
  const from = plan.how === "creation" ? "from the beginning" : `${plan.how} ${plan.steps ? `${plural(plan.steps, "step")} back` : "of this state"}`;
  const time = plan.seconds === null || plan.seconds === undefined ? "" : `, about ${seconds(plan.seconds)}`.replace("about <", "<");
  return html`<span title=${plain(plan.why ?? "")}>${plan.exact === true ? "✓ " : ""}${exact}, ${from}${time}</span>`;
}

/** Return whether an element is on the screen. */
function useSeen() {
  const [value, set] = useState(true);
  const observer = useRef(/** @type {IntersectionObserver | null} */ (null));
  const ref = useRef((element) => {
    observer.current?.disconnect();
    if (!element) return;
    observer.current = new IntersectionObserver(([entry]) => set(entry.isIntersecting));
    observer.current.observe(element);
  });
  return { value, ref: ref.current };
}
