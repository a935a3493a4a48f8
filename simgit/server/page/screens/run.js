// One run: every state of it can be looked at, and gone on from.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { get, session } from "../core/api.js";
import { plain } from "../core/format.js";
import { useKeys } from "../core/keys.js";
import { connection, on } from "../core/live.js";
import { useCalm, useLoad } from "../core/load.js";
import { place, setQuery } from "../core/router.js";
import { runs, simulations } from "../core/runs.js";
import { useStore } from "../core/store.js";
import { Asked } from "./run/asked.js";
import { useCursor, useSettled } from "./run/cursor.js";
import { Frame } from "./run/frame.js";
import { fork, Head } from "./run/head.js";
import { Inspector } from "./run/inspector.js";
import { Past } from "./run/past.js";
import { Scrubber } from "./run/scrubber.js";
import { useShownState } from "./run/shown.js";
import { Tabs } from "./run/tabs.js";

/** Tabs, in their order; each is a module of run/ that is read when it is shown. */
const TABS = { curves: "Curves", episodes: "Episodes", states: "States", media: "Media", cluster: "Cluster", control: "Control", config: "Config", usage: "Usage", log: "Log" };
const AGAIN = 200;
const CALM = 80;
const SLOW = 1000;
const FASTEST = 16; // steps of a move when it plays

/** The screen of one run. */
export function Screen() {
  const name = useStore(place, (now) => now.name);
  const isRead = useStore(runs, (all) => all !== null);
  const run = useStore(runs, (all) => all?.get(name));
  if (!isRead) return html`<p class="empty" role="status">reading …</p>`;
  if (!run) return html`<p class="empty">There is no run “${plain(name)}”. <a href="/">All runs</a></p>`;
  return html`<${Run} key=${name} run=${run} />`;
}

function Run({ run }) {
  const simulation = useStore(simulations, (all) => all.get(run.name));
  const seen = useCalm(run, AGAIN); // a run that grows is drawn a few times a second
  const past = useMemo(() => new Past(), []);
  past.follow(seen);
  const tip = seen.oid ? (seen.step ?? -1) : -1;
  const { step, isLive, beyond, goTo } = useCursor(tip);
  const { state, parent, error } = useShownState(past, step);
  const mayWrite = useStore(session, (value) => Boolean(value?.can_write));
  const tab = useStore(place, ({ query }) => query.tab);
  const tags = useTags();
  const [isPlaying, setPlaying] = useState(false);
  const [hasFrame, setFrame] = useState(false);
  const before = useRef(step);
  const by = useRef(0);
  if (before.current !== step) {
    const moved = step - before.current;
    by.current = Math.abs(moved) <= FASTEST ? moved : 0; // a jump: nothing is known of the next move
    before.current = step;
  }
  const settled = useSettled(step, CALM);
  const [, redraw] = useState(0); // what the log says of the neighbours
  useEffect(() => { if (settled >= 0) past.loadLines(settled).then(() => redraw((times) => times + 1), () => {}); }, [past, settled, past.generation.value]);
  useEffect(() => { if (step >= 0 && (by.current || settled === step)) past.prefetch(step, by.current).catch(() => {}); }, [past, step, settled, past.generation.value]);
  useKeys(mayWrite && step >= 0 ? { f: ["fork at this state", () => fork(run.name, step)] } : {});
  const grows = Boolean(simulation && !simulation.outcome) || Boolean(run.writer);
  const follows = isLive && grows;
  const calm = useCalm(useSettled(state?.oid, CALM), follows && simulation?.phase !== "asking" ? SLOW : 0); // what costs more is asked for less often
  if (step < 0) return html`<div class="run"><${Head} run=${run} simulation=${simulation} step=${step} />
    <p class="empty">No states yet${simulation && !simulation.outcome ? ": the first appears here." : "."}</p>
    <${Below} run=${run} simulation=${simulation} past=${past} step=${step} tags=${tags} onStep=${goTo} /></div>`;
  return html`<div class="run">
    <${Head} run=${run} simulation=${simulation} step=${step} />
    <${Scrubber} run=${seen} past=${past} step=${step} tip=${tip} isLive=${isLive} beyond=${beyond} grows=${grows} state=${state}
      onStep=${goTo} isPlaying=${isPlaying} onPlay=${setPlaying} />
    ${tab !== "control" && html`<${Asked} name=${run.name} simulation=${simulation} />`}
    <div class=${hasFrame ? "looked with-frame" : "looked"}>
      <${Frame} run=${seen} state=${state} calm=${calm} isPlaying=${isPlaying} onShown=${setFrame} />
      <${Inspector} name=${run.name} calm=${calm} follows=${follows && state?.oid === past.tipOid} state=${state} parent=${parent} error=${error} tags=${tags} nextOid=${past.lines.get((state?.step ?? step) + 1)?.oid} onStep=${goTo} />
    </div>
    <${Below} run=${seen} simulation=${simulation} past=${past} step=${step} tags=${tags} state=${state} onStep=${goTo} />
  </div>`;
}

/** The tabs; which one is shown is part of the address. */
function Below({ run, simulation, past, step, tags, state, onStep }) {
  const asked = useStore(place, ({ query }) => query.tab);
  const isCluster = ["ready", "pending", "total"].every((key) => key in (state?.info ?? {})) || "validity" in (state?.info ?? {});
  const shown = Object.entries(TABS).filter(([key]) => (key !== "cluster" || isCluster) && (key !== "control" || simulation));
  const chosen = shown.some(([key]) => key === asked) ? asked : "curves";
  return html`<${Tabs} label="About this run" tabs=${shown} chosen=${chosen} onChoose=${(key) => setQuery({ tab: key === "curves" ? null : key })}>
    <${Tab} key=${chosen} name=${chosen} run=${run} simulation=${simulation} past=${past} step=${step} tags=${tags} state=${state} onStep=${onStep} />
  </${Tabs}>`;
}

function Tab({ name, run, ...more }) {
  const [draw, setDraw] = useState(/** @type {any} */ (null));
  const isLive = useStore(connection, (state) => state === "live");
  const isRead = useRef(false);
  useEffect(() => {
    if (isRead.current) return;
    import(`./run/${name}.js`).then((found) => {
      isRead.current = true;
      setDraw(() => found.Panel ?? (({ run: { name: of } }) => html`<${found.Control} name=${of} />`));
    }, () => setDraw(() => () => html`<p class="empty">“${TABS[name]}” cannot be read: the server does not answer.</p>`)); // again when it does
  }, [name, isLive]);
  return draw ? html`<${draw} run=${run} ...${more} />` : html`<p class="empty" role="status">Loading …</p>`;
}

/** All tags; read again when a ref has moved. */
function useTags() {
  const [change, setChange] = useState(0);
  useEffect(() => on("ref", () => setChange((count) => count + 1)), []);
  return useLoad((signal) => get("tags", "", { limit: 1000 }, { signal }), [change]).data ?? [];
}
