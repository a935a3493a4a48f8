// The episodes of a run, the newest first.
import { html, useEffect, useMemo, useState } from "../../vendor/preact.js";
import { get } from "../../core/api.js";
import { count, number, plain, plural } from "../../core/format.js";
import { useCalm } from "../../core/load.js";
import { Table } from "../../parts/table.js";

const PAGE = 1000;
const AGAIN = 1000;
const ENDS = { terminated: "■ terminated", truncated: "✂ truncated", open: "▸ open" };

/** @param {{run: any, state: any, onStep: (step: number) => void}} props */
export function Panel({ run, state, onStep }) {
  const { rows, error, hasMore, more } = useEpisodes(run);
  const columns = useMemo(() => [
    { key: "number", title: "episode", isNumber: true, width: "6rem", draw: (row) => count(row.episode) },
    { key: "return", title: "return", isNumber: true, width: "8rem", draw: (row) => number(row.return) },
    { key: "length", title: "steps", isNumber: true, width: "6rem", draw: (row) => count(row.steps) },
    { key: "start", title: "first step", isNumber: true, width: "7rem", draw: (row) => count(row.start) },
    { key: "end", title: "how it ended", width: "minmax(8rem, 1fr)", draw: (row) => ENDS[row.end] ?? plain(row.end) },
  ], []);
  if (!run.oid) return html`<p class="empty">No states yet: no episodes.</p>`;
  if (error) return html`<p class="error" role="alert">${plain(error.message)}</p>`;
  const current = state ? String(state.episode) : null;
  const pick = (key) => {
    const row = rows?.find((each) => String(each.episode) === key);
    if (row) onStep(row.start);
  };
  return html`<${Table} label="Episodes" columns=${columns} rows=${rows ?? []} rowKey=${(row) => String(row.episode)} current=${current} onCurrent=${pick}
      empty=${rows ? "No episodes." : "reading …"} />
    <p class="muted">${rows ? plural(rows.length, "episode") : ""}${hasMore ? html` read; <button type="button" class="quiet" onclick=${more}>read older ones</button>` : ""}</p>`;
}

/** Read the newest episodes, and older ones on demand; those that have ended do not change. */
function useEpisodes(run) {
  const [found, set] = useState(/** @type {{rows: any[] | null, error: any, hasMore: boolean}} */ ({ rows: null, error: null, hasMore: false }));
  const tip = useCalm(run.oid, AGAIN);
  useEffect(() => {
    if (!tip) return undefined;
    const control = new AbortController();
    get("episodes", tip, { limit: PAGE }, { signal: control.signal }).then((newest) => set(({ rows, hasMore }) => {
      const last = newest.length ? newest[newest.length - 1].episode : 0;
      const older = (rows ?? []).filter((row) => row.episode < last);
      return { rows: [...newest, ...older], error: null, hasMore: rows ? hasMore || (newest.length === PAGE && last > 1 && !older.length) : newest.length === PAGE && last > 1 };
    }), (error) => control.signal.aborted || set((before) => ({ ...before, error })));
    return () => control.abort();
  }, [run.name, tip]);
  const more = async () => {
    const last = found.rows?.at(-1)?.episode;
    try {
      const older = await get("episodes", run.oid, { limit: PAGE, after: last });
      set(({ rows }) => ({ rows: [...(rows ?? []), ...older], error: null, hasMore: older.length === PAGE }));
    } catch (error) {
      set((before) => ({ ...before, error }));
    }
  };
  return { ...found, more };
}
