// The log of a simulation, read from its end; older lines when somebody wants them.
import { useEffect, useRef, useState } from "../vendor/preact.js";
import { get } from "./api.js";
import { on } from "./live.js";

const PAGES = [200, 1000, Infinity]; // lines from the end: at first, and when older ones are wanted
const MOST = 20_000;

/** A line by its parts; what a library wrote has no time, level and step. @typedef {{number: number, time: string, level: string, step: number | null, text: string}} LogLine */

/** Return a line of the log by its parts. @param {string} line @param {number} number @returns {LogLine} */
export function parsed(line, number) {
  const found = /^(\d\d:\d\d:\d\d) (debug|info|warning|error) +(-?\d+)  (.*)$/s.exec(line);
  return found ? { number, time: found[1], level: found[2], step: Number(found[3]) < 0 ? null : Number(found[3]), text: found[4] } : { number, time: "", level: "info", step: null, text: line };
}

const EMPTY = { lines: /** @type {LogLine[]} */ ([]), hasOlder: false, error: /** @type {any} */ (null), isThere: false };
const sizeOf = (lines) => lines.reduce((sum, line) => sum + new TextEncoder().encode(line).length + 1, 0);

/**
 * Return the newest lines of a log, which follow; more: reads older ones.
 * @param {string} name @param {boolean} isOn read once more when its simulation ends
 */
export function useLines(name, isOn) {
  const [state, set] = useState(EMPTY);
  const [page, setPage] = useState(0);
  const place = useRef({ next: 0, execution: undefined, number: 0, page: -1 });
  useEffect(() => {
    const control = new AbortController();
    let [isBusy, isAgain] = [false, false];
    async function step() {
      const isFirst = place.current.page !== page;
      const size = PAGES[page];
      const query = !isFirst ? { after: place.current.next } : size === Infinity ? { after: 0 } : { last: size };
      const found = await get("lines", name, query, { signal: control.signal });
      if (!isFirst && found.execution !== place.current.execution) { // it was restarted: another log
        place.current.page = -1;
        return true;
      }
      const start = isFirst ? 0 : place.current.number;
      place.current = { next: found.next, execution: found.execution, number: start + found.lines.length, page };
      const added = found.lines.map((line, index) => parsed(line, start + index));
      set((before) => {
        const all = isFirst ? added : [...before.lines, ...added];
        const hasOlder = isFirst ? size !== Infinity && found.next > sizeOf(found.lines) : before.hasOlder;
        return { lines: all.slice(-MOST), hasOlder, error: null, isThere: true };
      });
      return found.lines.length > 0 && !(isFirst && size !== Infinity); // an answer has at most a mebibyte
    }
    async function read() {
      isAgain = true;
      if (isBusy) return;
      isBusy = true;
      try {
        while (isAgain) {
          isAgain = false;
          while (await step());
        }
      } catch (error) {
        if (!control.signal.aborted) set((before) => ({ ...before, error }));
      } finally {
        isBusy = false;
      }
    }
    read();
    const ends = [on("line", (level) => level.run === name && read()), on("tips", read)];
    return () => {
      control.abort();
      ends.forEach((end) => end());
    };
  }, [name, isOn, page]);
  return { ...state, more: state.hasOlder && page < PAGES.length - 1 ? () => setPage(page + 1) : null };
}
