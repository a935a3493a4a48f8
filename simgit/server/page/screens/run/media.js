// Pictures, films, sounds and texts that were attached along a run, side by side.
import { html, useState } from "../../vendor/preact.js";
import { send, url } from "../../core/api.js";
import { bytes, count, plain, plural } from "../../core/format.js";
import { useCalm, useLoad } from "../../core/load.js";
import { place, setQuery } from "../../core/router.js";
import { useStore } from "../../core/store.js";
import { Medium } from "./attachments.js";

const KINDS = { "": "all kinds", image: "pictures", video: "films", audio: "sounds", text: "texts" };
const PAGE = 48;
const AGAIN = 2000;

/** @param {{run: any, step: number, onStep: (step: number) => void}} props */
export function Panel({ run, step, onStep }) {
  const query = useStore(place, (now) => now.query);
  const kind = query.kind in KINDS ? query.kind : "";
  const name = query.media ?? "";
  const upTo = query.upto === "1";
  const [pages, setPages] = useState(1);
  const at = useCalm(upTo ? `${run.oid}@${step}` : run.oid, AGAIN);
  const { data, error, isLoading } = useLoad(async (signal) => {
    if (!run.oid) return { found: [], hasMore: false };
    const found = [];
    let next = url("media", at, { kind, name, limit: PAGE });
    for (let page = 0; page < pages && next; page++) {
      const response = await send("GET", next, { signal, as: "response" });
      found.push(...(await response.json()));
      next = /<([^>]+)>; rel="next"/.exec(response.headers.get("Link") ?? "")?.[1] ?? "";
    }
    return { found, hasMore: Boolean(next) };
  }, [at, kind, name, pages]);
  const names = [...new Set((data?.found ?? []).map((each) => each.name))].sort();
  return html`<div class="tools" role="group" aria-label="Which media">
      <label>kind <select value=${kind} onchange=${(event) => setQuery({ kind: event.target.value || null })}>
        ${Object.entries(KINDS).map(([key, text]) => html`<option value=${key}>${text}</option>`)}</select></label>
      <label>name <input list="media-names" value=${name} placeholder="all" onchange=${(event) => setQuery({ media: event.target.value.trim() || null })} /></label>
      <datalist id="media-names">${names.map((each) => html`<option value=${each}></option>`)}</datalist>
      <label><input type="checkbox" checked=${upTo} onchange=${(event) => setQuery({ upto: event.target.checked ? "1" : null })} /> up to the step shown</label>
      <span class="spread"></span><span class="muted" role="status">${isLoading ? "reading …" : plural(data?.found.length ?? 0, "medium").replace("mediums", "media")}</span>
    </div>
    ${error && html`<p class="error" role="alert">${plain(error.message)}</p>`}
    ${data && !data.found.length && html`<p class="empty">${kind || name || upTo ? "Nothing of this kind and name is attached." : html`Nothing that a browser shows is attached: <code>simgit attach ${plain(run.name)} picture.png</code> attaches a file.`}</p>`}
    <ul class="media">${(data?.found ?? []).map((each) => html`<li key=${`${each.state}/${each.name}`} class=${each.step === step ? "panel current" : "panel"}>
      <${Medium} to=${url("attachments", each.state, { name: each.name })} type=${each.media} name=${`${each.name} at step ${each.step}`} />
      <p><button type="button" class="quiet link" aria-current=${each.step === step} onclick=${() => onStep(each.step)}>@${count(each.step)}</button>
        <span class="name" title=${plain(each.name)}>${plain(each.name)}</span> <span class="spread"></span><span class="muted">${bytes(each.size)}</span>
        <a href=${url("attachments", each.state, { name: each.name })} download=${each.name} aria-label=${`Download ${each.name} at step ${each.step}`}>⤓</a></p></li>`)}</ul>
    ${data?.hasMore && html`<button type="button" onclick=${() => setPages(pages + 1)}>Show older media</button>`}`;
}
