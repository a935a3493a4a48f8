// The start of the page.
import { html, render } from "./vendor/preact.js";
import { App } from "./app.js";
import { session, signIn } from "./core/api.js";
import { listen } from "./core/live.js";
import { followRuns, readRuns } from "./core/runs.js";
import { fail } from "./parts/notice.js";

const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) history.replaceState(null, "", location.pathname + location.search); // not in the history

render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
try {
  await signIn(token);
  followRuns();
  listen();
  await readRuns();
} catch (error) {
  if (error.status === 401) session.set({ version: "", level: "none", can_write: false });
  else fail(error);
}
