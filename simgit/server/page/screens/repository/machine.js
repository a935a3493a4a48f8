// The machine on which the server runs.
import { html, useEffect, useState } from "../../vendor/preact.js";
import { get } from "../../core/api.js";
import { bytes, json, number, plain } from "../../core/format.js";
import { isMissing, useLoad } from "../../core/load.js";
import { flat } from "../../core/words.js";

const AGAIN = 5000;
const BYTES = /(bytes|memory|rss|disk|size|total|used|available|free)$/;

/** What the machine has, read again while it is looked at. */
export function Machine() {
  const [time, setTime] = useState(0);
  const found = useLoad((signal) => get("machine", "", {}, { signal }), [time]);
  const isOver = isMissing(found.error);
  useEffect(() => {
    if (isOver) return undefined;
    const timer = setInterval(() => document.hidden || setTime((count) => count + 1), AGAIN);
    return () => clearInterval(timer);
  }, [isOver]);
  if (isOver) return html`<p class="muted">The machine is not available here.</p>`;
  if (found.error) return html`<p class="error" role="alert">${plain(found.error.message)}</p>`;
  if (!found.data) return html`<p class="empty" role="status">reading …</p>`;
  return html`<dl class="entries">${flat(found.data).map(([name, value]) => html`<div key=${name}><dt>${plain(name.replaceAll(".", " ").replaceAll("_", " "))}</dt><dd>${shown(name, value)}</dd></div>`)}</dl>`;
}

const shown = (name, value) => (value === null ? "–" : typeof value === "number" ? (BYTES.test(name) && value > 4096 ? bytes(value) : number(value)) : Array.isArray(value) && value.every((each) => typeof each === "number") && value.length ? value.map((each) => number(each, 3)).join(", ") : Array.isArray(value) && !value.length ? "none" : json(value));
