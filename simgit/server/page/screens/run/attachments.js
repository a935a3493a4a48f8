// What is attached to a state, and its files: shown if a browser shows it, else to be downloaded.
import { html, useState } from "../../vendor/preact.js";
import { get, url } from "../../core/api.js";
import { plain, plural } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { Value } from "./values.js";

const MOST_TEXT = 20_000;

/** @param {{oid: string, attachments: {name: string, kind: string, oid: string}[], files: Record<string, string>}} props */
export function Attachments({ oid, attachments, files }) {
  const [open, setOpen] = useState(/** @type {string | null} */ (null));
  const paths = Object.entries(files ?? {});
  if (!attachments.length && !paths.length) return null;
  return html`<div class="attached">
    ${attachments.length > 0 && html`<h3>${plural(attachments.length, "attachment")}</h3>
      <ul class="plain">${attachments.map((each) => html`<li key=${each.name}>
        <button type="button" class="quiet" aria-expanded=${open === each.name} onclick=${() => setOpen(open === each.name ? null : each.name)}>
          <span aria-hidden="true">${open === each.name ? "▾" : "▸"}</span> ${plain(each.name)}</button>
        <a class="quiet" href=${url("attachments", oid, { name: each.name })} download=${each.name} aria-label=${`Download ${each.name}`}>⤓</a>
        ${open === each.name && html`<${Attached} oid=${oid} name=${each.name} />`}</li>`)}</ul>`}
    ${paths.length > 0 && html`<h3>${plural(paths.length, "file")}</h3>
      <ul class="plain">${paths.slice(0, 50).map(([path]) => html`<li key=${path}><a href=${url("files", `${oid}:${path}`)} download=${path.split("/").at(-1)}>${plain(path)} ⤓</a></li>`)}
        ${paths.length > 50 && html`<li class="muted">and ${plural(paths.length - 50, "more file")}: simgit ls-tree ${oid.slice(0, 12)}</li>`}</ul>`}
  </div>`;
}

/** One attachment by its type. */
function Attached({ oid, name }) {
  const to = url("attachments", oid, { name });
  const { data, error } = useLoad(async (signal) => {
    const response = await get("attachments", oid, { name }, { signal, as: "response", headers: { Range: `bytes=0-${MOST_TEXT - 1}` } });
    const type = response.headers.get("Content-Type") ?? "";
    if (type === "application/json") return { type, value: (await response.json()).data };
    return { type, text: type.startsWith("text/") ? await response.text() : null, isPart: response.status === 206 };
  }, [oid, name]);
  if (error) return html`<p class="error" role="alert">${plain(error.message)}</p>`;
  if (!data) return html`<p class="muted" role="status">reading …</p>`;
  if (data.type === "application/json") return html`<div class="values"><${Value} name=${name} value=${data.value} /></div>`;
  return html`<${Medium} to=${to} type=${data.type} name=${name} text=${data.text} isPart=${data.isPart} />`;
}

/** What a browser shows. @param {{to: string, type: string, name: string, text?: string | null, isPart?: boolean}} props */
export function Medium({ to, type, name, text, isPart }) {
  const kind = type.split("/")[0];
  if (kind === "image") return html`<img class="medium" src=${to} alt=${plain(name)} loading="lazy" />`;
  if (kind === "video") return html`<video class="medium" src=${to} aria-label=${plain(name)} controls preload="metadata"></video>`;
  if (kind === "audio") return html`<audio class="medium" src=${to} aria-label=${plain(name)} controls preload="metadata"></audio>`;
  if (kind === "text") return text === undefined ? html`<${Text} to=${to} name=${name} />` : html`<pre class="medium" tabindex="0" aria-label=${plain(name)}>${plain(text)}${isPart ? "\n…" : ""}</pre>`;
  return html`<p class="muted">Not shown in a browser: <a href=${to} download=${name}>download it</a>.</p>`;
}

function Text({ to, name }) {
  const { data, error } = useLoad(async (signal) => {
    const response = await fetch(to, { signal, headers: { Range: "bytes=0-3999" } });
    if (!response.ok) throw new Error(`it cannot be read (${response.status})`);
    return { text: await response.text(), isPart: response.status === 206 };
  }, [to]);
  if (error) return html`<p class="error" role="alert">${plain(error.message)}</p>`;
  return html`<${Medium} to=${to} type="text/plain" name=${name} text=${data ? data.text : "reading …"} isPart=${data?.isPart} />`;
}
