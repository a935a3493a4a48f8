// Making what a dialog asks for, once.
import { useMemo, useState } from "../../vendor/preact.js";
import { send } from "../../core/api.js";
import { plural } from "../../core/format.js";
import { onceKeys } from "../../core/once.js";
import { address, go } from "../../core/router.js";
import { readRuns } from "../../core/runs.js";
import { closeDialog } from "../../parts/dialog.js";
import { say } from "../../parts/notice.js";
import { commandOf, requestsOf } from "./draft.js";

/** Return what sends a draft: it shows the new run, or keeps why there is none. */
export function useSend() {
  const keys = useMemo(onceKeys, []);
  const [state, set] = useState({ isBusy: false, error: /** @type {any} */ (null), made: /** @type {string[]} */ ([]) });
  /** @param {import("./draft.js").Draft} draft */
  async function start(draft) {
    if (state.isBusy) return;
    const made = [];
    set({ isBusy: true, error: null, made });
    for (const request of requestsOf(draft)) {
      const content = [request.path, request.body];
      try {
        await send("POST", request.path, { body: request.body, headers: keys.headers(content) });
      } catch (error) {
        if (error.status) keys.forget(content); // it was refused: the next try is another
        return void set({ isBusy: false, error, made });
      }
      made.push(request.run);
    }
    await readRuns().catch(() => undefined); // the new run is in the list before it is shown
    closeDialog();
    const what = draft.type === null ? "made" : draft.isQueued ? "queued" : "started";
    say(`${what} ${made.length === 1 ? made[0] : plural(made.length, "run")}`, { command: commandOf(draft) });
    go(made.length === 1 ? address("run", made[0]) : address("runs", "", { at: made[0] }));
  }
  return { ...state, start };
}
