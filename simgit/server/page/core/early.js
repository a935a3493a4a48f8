// The first requests: they go out while the modules that need their answers are on their way.

/** The token in the address, which does not stay in the history. */
export const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) history.replaceState(null, "", location.pathname + location.search);

/** @type {Map<string, Promise<Response>>} */
const begun = new Map();

/** @param {string} key method and address @param {Promise<Response>} answer */
function begin(key, answer) {
  begun.set(key, answer);
  answer.catch(() => begun.delete(key)); // it is sent anew, or told to who has taken it
  return answer;
}

/** Return the answer to a request that was begun early, once: later ones are sent as ever. @param {string} key */
export function taken(key) {
  const found = begun.get(key);
  begun.delete(key);
  return found;
}

/** Exchange a token for a cookie. @param {string} given */
const exchange = (given) => fetch("/v1/session", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: given }) });
const after = (first, to) => first.then((answer) => (answer.ok ? fetch(to) : Promise.reject(new Error("not signed in"))));

const first = token ? begin("POST /v1/session", exchange(token)) : begin("GET /v1/version", fetch("/v1/version"));
if (token) begin("GET /v1/version", after(first, "/v1/version"));
if (!new URLSearchParams(location.search).has("as_of")) begin("GET /v1/runs?limit=10000", after(first, "/v1/runs?limit=10000"));
