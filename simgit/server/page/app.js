// The frame around all screens: navigation, the filter, the connection, undo, help.
import { html, useEffect, useErrorBoundary, useRef, useState } from "./vendor/preact.js";
import { send, session, signIn } from "./core/api.js";
import { plain } from "./core/format.js";
import { keys, useKeys } from "./core/keys.js";
import { connection } from "./core/live.js";
import { address, asOf, go, place, setQuery } from "./core/router.js";
import { runs, simulations } from "./core/runs.js";
import { useStore } from "./core/store.js";
import { complete, wordsOf } from "./core/words.js";
import { theme } from "./parts/colors.js";
import { Combobox } from "./parts/combobox.js";
import { Dialog, Dialogs, openDialog } from "./parts/dialog.js";
import { attempt, Notices } from "./parts/notice.js";

/** Screens by the first part of the address; each is a module that is read when it is shown. */
const SCREENS = { runs: "Runs", run: "Run", compare: "Compare", best: "Best", repository: "Repository", reference: "API" };
const MENU = ["runs", "best", "repository", "reference"];
const STATES = { live: "● live", lost: "○ no connection, trying again", refused: "○ the server was started anew: open the address that it printed", connecting: "○ connecting" };
const THEMES = { "": "light", light: "dark", dark: "" };

/** The page. */
export function App() {
  const now = useStore(session);
  if (!now) return html`<p class="empty" role="status">Connecting …</p><${Notices} />`;
  if (now.level === "none") return html`<${SignIn} />`;
  return html`<${Frame} /><${Dialogs} /><${Notices} />`;
}

function Frame() {
  const { screen, name } = useStore(place);
  const mayWrite = useStore(session, (value) => Boolean(value?.can_write));
  const filter = useRef(/** @type {HTMLInputElement | null} */ (null));
  useKeys({
    "/": ["filter the runs", () => filter.current?.focus()], "?": ["show the keys", help],
    ...(mayWrite ? { u: ["undo the newest operation", undo] } : {}),
  });
  useEffect(() => { document.title = [name || SCREENS[screen], "simgit"].filter(Boolean).join(" · "); }, [screen, name]);
  return html`<a class="skip" href="#main">Skip to the content</a>
    <header class="top">
      <a class="brand" href=${address("runs")}>simgit</a>
      <nav aria-label="Screens">${MENU.map((each) => html`<a key=${each} href=${address(each)} aria-current=${screen === each ? "page" : null}>${SCREENS[each]}</a>`)}</nav>
      <${Filter} input=${filter} />
      <${Connection} />
      ${mayWrite && html`<button type="button" class="quiet" onclick=${undo}>↶ Undo</button>`}
      <${Theme} />
      <button type="button" class="quiet" aria-label="Keys" onclick=${help}>?</button>
    </header>
    <${Past} />
    <main id="main" tabindex="-1"><${Shown} key=${`${screen} ${asOf()}`} screen=${screen} /></main>`;
}

/** That what is shown is not what there is now, and the way back. */
function Past() {
  useStore(place);
  const operation = asOf();
  return operation !== null && html`<div class="past" role="status"><b>As it was after operation ${operation}</b>
    <span>Nothing can be changed here.</span>
    <button type="button" onclick=${() => setQuery({ as_of: null }, false)}>Back to now</button></div>`;
}

/** The screen, once its module is there. */
function Shown({ screen }) {
  const [module, setModule] = useState(/** @type {any} */ (null));
  const isLive = useStore(connection, (state) => state === "live");
  const [error] = useErrorBoundary((found) => console.error(found));
  useEffect(() => {
    if (!(screen in SCREENS)) return void setModule({ Screen: Missing });
    if (module && !module.isFault) return;
    import(`./screens/${screen}.js`).then(setModule, (found) => setModule({ isFault: true, Screen: () => html`<p class="error" role="alert">${plain(found.message)}</p>` }));
  }, [screen, isLive]); // what could not be read is read when there is a connection again
  if (error) return html`<p class="error" role="alert">This screen failed: ${plain(error.message)}. <a href="/">All runs</a></p>`;
  return module ? html`<${module.Screen} />` : html`<p class="empty" role="status">Loading …</p>`;
}

const Missing = () => html`<p class="empty">There is no such screen. <a href="/">All runs</a></p>`;

/** The condition on runs; it is part of the address. */
function Filter({ input }) {
  const { screen, query } = useStore(place);
  const isThere = screen === "runs" || screen === "best";
  function submit(text) {
    if (isThere) setQuery({ where: text || null }, false);
    else go(address("runs", "", { where: text }));
    input.current?.blur();
  }
  return html`<div class="filter" role="search">
    <${Combobox} label="Filter the runs" type="search" input=${input} value=${isThere ? (query.where ?? "") : ""} onSubmit=${submit}
      placeholder="⌕ config.agent.lr < .01 and mean(return, 10) > 40"
      offer=${(text, caret) => complete(text, caret, wordsOf(runs.value?.values() ?? []))} />
  </div>`;
}

function Connection() {
  const state = useStore(connection);
  const asking = useStore(simulations, (all) => [...all.values()].filter((each) => each.phase === "asking" && !each.outcome).map((each) => each.run).join("\n")).split("\n").filter(Boolean);
  const here = useStore(place, ({ screen, name }) => (screen === "run" ? name : null));
  const next = asking[(asking.indexOf(here ?? "") + 1) % asking.length]; // of several, the one after that which is shown
  return html`<span class=${`connection ${state}`} role="status">${STATES[state]}
    ${next && html` <a href=${address("run", next, { tab: "control" })} title=${plain(next)}>${asking.length} ask${asking.length === 1 ? "s" : ""}</a>`}</span>`;
}

function Theme() {
  const now = useStore(theme);
  return html`<button type="button" class="quiet" aria-label=${`Colours: ${now || "as the system"}; change`} onclick=${() => theme.set(THEMES[now])}>${{ "": "◐", light: "☀", dark: "☾" }[now]}</button>`;
}

const undo = () => attempt(async () => {
  const done = await send("POST", "/v1/undo");
  return done;
}, "undone", "simgit undo");

function help() {
  openDialog(() => html`<${Dialog} title="Keys">
    <dl class="keys">${keys.value.map((each) => html`<div key=${each.key}><dt><kbd>${each.key}</kbd></dt><dd>${each.text}</dd></div>`)}</dl>
  </${Dialog}>`);
}

function SignIn() {
  const [error, setError] = useState("");
  async function submit(event) {
    event.preventDefault();
    const given = String(new FormData(event.target).get("token") ?? "").trim();
    const token = given.includes("token=") ? given.split("token=")[1] : given;
    try {
      await signIn(token);
      location.reload();
    } catch (found) {
      setError(found.message);
    }
  }
  return html`<main class="sign-in"><h1>simgit</h1>
    <p>This server needs a token. Open the address that <code>simgit serve</code> printed, or paste it here.</p>
    <form onsubmit=${submit}><label>Address or token <input name="token" type="password" autocomplete="off" required autofocus /></label>
      <button class="main">Sign in</button></form>
    ${error && html`<p class="error" role="alert">${plain(error)}</p>`}</main>`;
}
