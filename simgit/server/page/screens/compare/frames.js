// The images of two states of the same step, side by side; both are restored when they are asked for.
import { html, useEffect, useState } from "../../vendor/preact.js";
import { isMissing, send, url } from "../../core/api.js";
import { plain } from "../../core/format.js";
import { useCalm } from "../../core/load.js";

const PAUSE = 200;
const WIDTH = 480;

/** @param {{a: any, b: any, step: number}} props */
export function Frames({ a, b, step }) {
  const calm = useCalm(step, PAUSE);
  const left = useFrame(`${a.name}@${calm}`);
  const right = useFrame(`${b.name}@${calm}`);
  if (left.error && right.error && left.error === right.error) return html`<p class="muted" role="status">No frames: ${plain(left.error)}</p>`;
  return html`<div class="frames">${[[a, left], [b, right]].map(([run, frame]) => html`<figure key=${run.name}>
    ${frame.source && !frame.error ? html`<img src=${frame.source} alt=${`${run.name} at step ${calm}`} aria-busy=${frame.isLoading} />`
      : html`<p class="muted blank" role="status">${frame.error ? `No frame: ${plain(frame.error)}` : "restoring the state …"}</p>`}
    <figcaption>${plain(run.name)}</figcaption></figure>`)}</div>`;
}

/** Return the image of a state. @param {string} revision */
function useFrame(revision) {
  const [state, set] = useState({ source: "", error: "", isLoading: true });
  useEffect(() => {
    const control = new AbortController();
    let made = "";
    set((before) => ({ ...before, isLoading: true }));
    (async () => {
      try {
        const response = await send("GET", url("frames", revision, { width: WIDTH }), { as: "response", signal: control.signal });
        made = URL.createObjectURL(await response.blob());
        if (!control.signal.aborted) set({ source: made, error: "", isLoading: false });
      } catch (problem) {
        if (!control.signal.aborted) set({ source: "", error: isMissing(problem) ? "this server makes no frames" : problem.message, isLoading: false });
      }
    })();
    return () => {
      control.abort();
      if (made) setTimeout(() => URL.revokeObjectURL(made), 5000); // the one after it may not be there yet
    };
  }, [revision]);
  return state;
}
