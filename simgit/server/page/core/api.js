// Requests to the HTTP API (docs/http-api.md).
import { taken } from "./early.js";
import { connection } from "./live.js";
import { asOf, pastOf, place } from "./router.js";
import { Store } from "./store.js";

/** What the token may do, or null before it is known; level "none" where one is needed. */
export const session = new Store(/** @type {{version: string, level: string, can_write: boolean} | null} */ (null));
/** What it may do now; nobody writes to what was. */
let mayWrite = false;
place.follow(() => session.set((now) => now && { ...now, can_write: mayWrite && asOf() === null }));

/** What the API answers where it refuses (RFC 9457). */
export class Problem extends Error {
  /** @param {Record<string, any>} record */
  constructor(record) {
    super(record.detail || record.title || `status ${record.status}`);
    this.record = record;
    this.status = record.status;
  }
}

/**
 * Return the address of a resource; names and revisions come last and may have slashes.
 * @param {string} noun @param {string} [name]
 * @param {Record<string, unknown>} [query] an array repeats the parameter
 */
export function url(noun, name = "", query = {}) {
  const path = name ? `/v1/${noun}/${name.split("/").map(encodeURIComponent).join("/")}` : `/v1/${noun}`;
  const pairs = Object.entries({ as_of: pastOf(noun), ...query }).flatMap(([key, value]) =>
    (Array.isArray(value) ? value : [value]).filter((each) => each !== undefined && each !== null && each !== "").map((each) => [key, String(each)]));
  const text = new URLSearchParams(pairs).toString();
  return text ? `${path}?${text}` : path;
}

/**
 * Send a request; return what is answered as JSON, or as `as` says.
 * @param {string} method @param {string} to
 * @param {{body?: unknown, headers?: Record<string, string>, signal?: AbortSignal, as?: "json" | "response"}} [options]
 */
export async function send(method, to, { body, headers = {}, signal, as = "json" } = {}) {
  if (method !== "GET" && asOf() !== null && to !== "/v1/session") {
    throw new Problem({ type: "Past", status: 409, detail: `this is the repository as it was after operation ${asOf()}; go back to now to change it` });
  }
  const given = { ...headers };
  let data = body;
  if (body !== undefined && !(body instanceof Blob)) {
    given["Content-Type"] = "application/json";
    data = JSON.stringify(body);
  } else if (body instanceof Blob) {
    given["Content-Type"] = "application/octet-stream";
  }
  let response;
  try {
    response = await (taken(`${method} ${to}`) ?? fetch(to, { method, headers: given, body: /** @type {BodyInit} */ (data), signal }));
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem({ type: "Unreachable", status: 0, detail: "the server does not answer; is 'simgit serve' running?" });
  }
  if (!response.ok) {
    const record = await response.json().catch(() => ({ status: response.status, detail: response.statusText }));
    if (response.status === 401) refused();
    throw new Problem(record);
  }
  if (as === "response") return response;
  return response.status === 204 ? null : response.json();
}

/** Ask for a token; but where a session has ended meanwhile, what is shown stays, and the banner says so. */
function refused() {
  if (["full", "view"].includes(session.value?.level ?? "")) connection.set("refused");
  else session.set({ version: "", level: "none", can_write: false });
}

/** Read a resource. @param {string} noun @param {string} [name] @param {Record<string, unknown>} [query] */
export const get = (noun, name, query, options = {}) => send("GET", url(noun, name, query), options);

/** Exchange a token for a cookie, and note what it may do. @param {string | null} token */
export async function signIn(token) {
  if (token) await send("POST", "/v1/session", { body: { token } });
  const found = await get("version");
  mayWrite = found.can_write;
  session.set({ ...found, can_write: mayWrite && asOf() === null });
}

/** True if a server does not have what was asked for at all: an older one, or one without it. @param {any} problem */
export const isMissing = (problem) => [405, 501].includes(problem?.status) || (problem?.status === 404 && problem.record?.title === "Not found");
