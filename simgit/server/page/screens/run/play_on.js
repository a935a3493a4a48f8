// Playing on from a state: a new run begins there, in which a person or a policy acts.
import { html, useState } from "../../vendor/preact.js";
import { get, session } from "../../core/api.js";
import { command, plain } from "../../core/format.js";
import { useLoad } from "../../core/load.js";
import { runs } from "../../core/runs.js";
import { useStore } from "../../core/store.js";
import { closeDialog, Dialog, openDialog } from "../../parts/dialog.js";
import { Input, readField } from "../../parts/form.js";
import { commandOf, freeName, whyNot } from "../start/draft.js";
import { How, Name, Refusal, Same, Why } from "../start/pieces.js";
import { useSend } from "../start/send.js";

const TYPE = "env"; // a policy in any environment
const STEPS = { path: "steps", keys: ["steps"], kind: /** @type {const} */ ("integer"), isRequired: true, minimum: 1 };
const DEFAULT = "1000";

/** Ask who plays on. @param {import("../../core/runs.js").Run} run @param {number} step */
export function openPlayOn(run, step) {
  openDialog(() => html`<${PlayDialog} key=${`${run.name}@${step}`} run=${run} step=${step} />`);
}

function PlayDialog({ run, step }) {
  const known = useStore(runs) ?? new Map();
  const may = useStore(session);
  const types = useLoad((signal) => get("types", "", {}, { signal }), []);
  const origin = useLoad((signal) => get("origin", `${run.oid}@${step}`, {}, { signal }), []);
  const canStart = Boolean(types.data?.some((each) => each.form || each.error));
  const environment = origin.data?.environment;
  const ownType = run.metadata?.simulation?.type ?? null;
  const canAct = canStart && Boolean(environment?.id) && types.data.some((each) => each.name === TYPE);
  const isOther = canStart && ownType !== null && ownType !== TYPE && types.data.some((each) => each.name === ownType);
  const players = [...(canAct ? [["ask", "you: one action after the other"], ["random", ownType === TYPE ? "random actions: those that were drawn, then on" : "random actions, of a new seed"]] : []), ...(isOther ? [["own", `${ownType}, as it was: the same states again, then on`]] : [])];
  const [name, setName] = useState(() => freeName(`play/${run.name}`, known, 1));
  const [chosen, setPlayer] = useState("");
  const [text, setText] = useState(DEFAULT);
  const [seed] = useState(() => crypto.getRandomValues(new Uint32Array(1))[0] >>> 1);
  const sending = useSend();
  const player = players.some(([key]) => key === chosen) ? chosen : (players[0]?.[0] ?? "");
  const steps = readField(STEPS, text);
  const nameError = whyNot(name, known.keys());
  const at = `${run.name}@${step}`;
  const isReading = (!types.data && !types.error) || (!origin.data && !origin.error);
  const actor = ownType === TYPE ? {} : { id: environment?.id, ...(Object.keys(environment?.kwargs ?? {}).length ? { arguments: environment.kwargs } : {}) };
  const draft = {
    name, at, type: player === "own" ? ownType : TYPE, isOwnType: player === "own" || ownType === TYPE, preset: null, sweep: null, isQueued: false,
    seed: player === "random" && ownType !== TYPE ? seed : null, // a fork of its own type draws as it did
    overrides: player === "own" ? {} : { ...actor, policy: player, steps: step + Number(steps.value ?? 0) },
  };
  const isGood = Boolean(player) && !nameError && !steps.error && may?.can_write;
  const submit = (event) => {
    event.preventDefault();
    if (isGood) sending.start(draft);
  };
  return html`<${Dialog} title=${`Play on from ${plain(at)}`} isWide>
    <form class="start" onsubmit=${submit} novalidate>
      <${Why} may=${may} types=${types} canStart=${canStart} branch="The command below plays on in a window." />
      ${isReading && html`<p class="muted about" role="status">reading who can act here …</p>`}
      ${!isReading && canStart && !players.length && html`<p class="said" role="status">Nobody can act here: the run was recorded without an environment that this server knows.</p>`}
      ${players.length > 0 && html`<fieldset class="choice"><legend>Who acts</legend>${players.map(([key, told]) => html`<label key=${key}>
        <input type="radio" name="player" checked=${key === player} autofocus=${key === player} onchange=${() => setPlayer(key)} /> ${plain(told)}</label>`)}</fieldset>`}
      <div class="row"><${Name} value=${name} error=${nameError || undefined} onValue=${setName} />
        ${player !== "own" && html`<${Input} id="play-steps" label="steps from here" field=${STEPS} text=${text} error=${steps.error} onText=${setText} />`}</div>
      <${How} at=${at} />
      ${player && html`<${Same} text=${commandOf(draft)} />`}
      <p class="muted about">With the keyboard, in a window on the machine of the repository: <code>${plain(command("play", at))}</code></p>
      <${Refusal} sending=${sending} />
      <footer><button type="button" onclick=${closeDialog}>Cancel</button>
        <button class="main" disabled=${!isGood || sending.isBusy}>${sending.isBusy || isReading ? "…" : "Play on"}</button></footer>
    </form>
  </${Dialog}>`;
}
