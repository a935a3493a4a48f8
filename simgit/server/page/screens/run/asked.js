// What a simulation asks, where its states are shown; who plays on with it answers here, action by action.
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { session } from "../../core/api.js";
import { useStore } from "../../core/store.js";
import { Question, choicesOf } from "../control/question.js";

const LINGERS = 3000; // an answered question, until the next one is there

/** @param {{name: string, simulation: any}} props */
export function Asked({ name, simulation }) {
  const mayWrite = useStore(session, (value) => Boolean(value?.can_write));
  const last = useRef(/** @type {any} */ (null));
  const isOn = Boolean(simulation) && !simulation.outcome;
  const asked = isOn ? (simulation.questions ?? []) : [];
  if (asked.length) last.current = asked[0];
  else if (!isOn) last.current = null;
  const [, redraw] = useState(0);
  useEffect(() => {
    if (asked.length || !last.current) return undefined;
    const timer = setTimeout(() => { last.current = null; redraw((times) => times + 1); }, LINGERS);
    return () => clearTimeout(timer);
  }, [asked.length]);
  const waits = !asked.length && last.current && choicesOf(last.current.form); // the next one is about to come: nothing jumps
  return (waits ? [last.current] : asked).map((each) => html`<${Question} key=${each.text} name=${name} canAct=${mayWrite} isPast=${Boolean(waits)}
    question=${{ ...each, until: each.until ? Date.parse(each.until) : null }} onDone=${() => {}} />`);
}
