// What an operation changed.
import { html } from "../../vendor/preact.js";
import { get } from "../../core/api.js";
import { json, number, plain, plural } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { address } from "../../core/router.js";

const MOST = 100;

/** The changes of an operation, ref by ref. @param {{operation: number}} props */
export function Changes({ operation }) {
  const found = useLoad((signal) => get("changes", String(operation), {}, { signal }), [operation]);
  if (found.error) return html`<p class="error" role="alert">${plain(found.error.message)}</p>`;
  if (!found.data || found.data.number !== operation) return html`<p class="muted" role="status">reading …</p>`;
  const all = found.data.changed;
  return html`<ul class="plain changes" aria-label=${`Changes of operation ${operation}`}>
    ${all.slice(0, MOST).map((change) => html`<li key=${change.ref ?? change.name}>${named(change)} <span>${told(change)}</span></li>`)}
    ${all.length > MOST && html`<li class="muted">and ${plural(all.length - MOST, "more change")}</li>`}
    ${!all.length && html`<li class="muted">It changed no ref.</li>`}
  </ul>`;
}

function named(change) {
  const ref = change.ref ?? [change.state?.slice(0, 8), change.name].filter(Boolean).join(" ");
  return ref.startsWith("runs/") && change.new !== null ? html`<a href=${address("run", ref.slice("runs/".length))}>${plain(ref)}</a>` : html`<b>${plain(ref)}</b>`;
}

/** Tell what became of a ref: a word, then what differs. */
function told({ old, new: now }) {
  if (old === null && now === null) return "unchanged";
  if (old === null) return `made${placed(now)}`;
  if (now === null) return `deleted${placed(old)}`;
  if (typeof old !== "object" || typeof now !== "object") return `${json(old, 60)} → ${json(now, 60)}`;
  const names = [...new Set([...Object.keys(old), ...Object.keys(now)])].filter((name) => JSON.stringify(old[name]) !== JSON.stringify(now[name]) && !["line", "created", "ended"].includes(name));
  const one = (name, value) => (name === "record" ? null : /^[0-9a-f]{64}$/.test(value) ? value.slice(0, 8) : json(value ?? null, 40));
  const parts = names.map((name) => (name === "record" ? "settings" : `${name} ${one(name, old[name])} → ${one(name, now[name])}`));
  return parts.length ? parts.join(", ") : "its record";
}

const placed = (value) => (value?.step !== undefined && value?.oid ? ` at step ${number(value.step)} (${value.oid.slice(0, 8)})` : value?.oid ? ` at ${value.oid.slice(0, 8)}` : "");
