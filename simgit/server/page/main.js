// The start of the page.
import { html, render } from "./vendor/preact.js";
import { App } from "./app.js";
import { session, signIn } from "./core/api.js";
import { token } from "./core/early.js";
import { listen } from "./core/live.js";
import { followRuns, readRuns } from "./core/runs.js";
import { fail } from "./parts/notice.js";

render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
try {
  await signIn(token);
  followRuns();
  const isRead = readRuns();
  listen();
  await isRead;
} catch (error) {
  if (error.status === 401) session.set({ version: "", level: "none", can_write: false });
  else fail(error);
}
