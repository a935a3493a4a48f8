// A table of any length: only the rows that are seen are in the page.
import { html, useCallback, useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact.js";

const BEYOND = 8;
const STEP = 4; // rows that are scrolled before others are drawn

/**
 * @typedef {{key: string, title: any, width?: string, isNumber?: boolean, sort?: string,
 *   draw: (row: any, index: number) => any}} Column
 */

/**
 * A table whose rows all have one height.
 * @param {{label: string, columns: Column[], rows: any[], rowKey: (row: any) => string,
 *   current?: string | null, onCurrent?: (key: string) => void, onOpen?: (row: any) => void,
 *   isChosen?: (row: any) => boolean, height?: number, sorted?: string, onSort?: (name: string) => void,
 *   empty?: any, fill?: boolean, at?: number, onSeen?: (first: number, last: number) => void}} props
 *   rows: an array, or what has length, slice and at, with the place of the current row as at; onSeen: told which rows are seen
 */
export function Table(props) {
  const { label, columns, rows, rowKey, current, onCurrent, onOpen, isChosen, height = 30, sorted, onSort, empty, fill, at: given, onSeen } = props;
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [view, setView] = useState({ top: 0, size: 600 });
  const see = useCallback(() => {
    const now = box.current;
    if (!now) return;
    const top = Math.floor(now.scrollTop / (STEP * height)) * STEP * height;
    setView((old) => (old.top === top && old.size === now.clientHeight ? old : { top, size: now.clientHeight }));
  }, []);
  useLayoutEffect(() => {
    see();
    const observer = new ResizeObserver(see);
    if (box.current) observer.observe(box.current);
    return () => observer.disconnect();
  }, []);

  const at = given !== undefined ? given : current === undefined || current === null ? -1 : rows.findIndex((row) => rowKey(row) === current);
  useEffect(() => {
    const now = box.current;
    if (!now || at < 0) return;
    const head = height;
    if (at * height < now.scrollTop) now.scrollTop = at * height;
    else if ((at + 1) * height > now.scrollTop + now.clientHeight - head) now.scrollTop = (at + 1) * height - now.clientHeight + head;
  }, [current]);

  const first = Math.max(0, Math.floor(view.top / height) - BEYOND);
  const last = Math.min(rows.length, Math.ceil((view.top + view.size) / height) + STEP + BEYOND);
  useEffect(() => onSeen?.(first, Math.max(first, last - 1)), [first, last]);
  const grid = useRef(/** @type {HTMLDivElement | null} */ (null));
  useLayoutEffect(() => {
    if (!grid.current) return;
    grid.current.style.setProperty("--columns", columns.map((column) => column.width ?? "minmax(4rem, 1fr)").join(" "));
    grid.current.style.setProperty("--row", `${height}px`);
  }, [columns, height]);
  const body = useRef(/** @type {HTMLDivElement | null} */ (null));
  useLayoutEffect(() => {
    if (body.current) body.current.style.height = `${rows.length * height}px`;
  }, [rows.length, height]);
  // while the table is only scrolled, rows that stay are not drawn again
  const drawn = useRef({ props, rows: new Map() });
  const before = drawn.current.props === props ? drawn.current.rows : new Map();
  drawn.current = { props, rows: new Map() };
  const draw = (row, index) => {
    const key = rowKey(row);
    const there = before.get(key);
    const kept = there?.row === row && there.index === index ? there : { row, index, drawn: drawRow(props, row, key, index, index === at) };
    drawn.current.rows.set(key, kept);
    return kept.drawn;
  };

  function press(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -rows.length, End: rows.length }[event.key];
    if (event.target.closest("input, select, a, button") && event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    if (step && rows.length) {
      event.preventDefault();
      event.stopPropagation();
      onCurrent?.(rowKey(rows.at(Math.min(rows.length - 1, Math.max(0, (at < 0 ? (step > 0 ? -1 : 0) : at) + step)))));
    } else if (event.key === "Enter" && at >= 0 && onOpen) {
      event.preventDefault();
      onOpen(rows.at(at));
    }
  }

  return html`<div class=${fill ? "table fill" : "table"} ref=${box} onscroll=${see}>
    <div role="grid" aria-label=${label} aria-rowcount=${rows.length + 1} ref=${grid} tabindex="0" onkeydown=${press}
      aria-activedescendant=${at >= first && at < last ? `${label}-${at}`.replaceAll(" ", "-") : null}>
      <div role="row" aria-rowindex="1" class="row heads">
        ${columns.map((column) => {
          const direction = sorted === column.sort ? "ascending" : sorted === `-${column.sort}` ? "descending" : "none";
          return html`<div role="columnheader" key=${column.key} class=${column.isNumber ? "number" : ""} aria-sort=${column.sort ? direction : null}>
            ${column.sort && onSort
              ? html`<button type="button" class="quiet" onclick=${() => onSort(direction === "descending" ? column.sort : direction === "ascending" ? "" : `-${column.sort}`)}>
                  ${column.title}${direction === "ascending" ? " ↑" : direction === "descending" ? " ↓" : ""}</button>`
              : column.title}
          </div>`;
        })}
      </div>
      <div class="body" role="presentation" ref=${body}>
        ${rows.slice(first, last).map((row, offset) => draw(row, first + offset))}
      </div>
    </div>
    ${!rows.length && html`<p class="empty">${empty ?? "Nothing here yet."}</p>`}
  </div>`;
}

function drawRow({ label, columns, onCurrent, onOpen, isChosen, height = 30 }, row, key, index, isCurrent) {
  const kind = `row${isCurrent ? " current" : ""}${isChosen?.(row) ? " chosen" : ""}`;
  return html`<div role="row" key=${key} id=${`${label}-${index}`.replaceAll(" ", "-")} class=${kind} aria-rowindex=${index + 2} ref=${(element) => element && (element.style.top = `${index * height}px`)}
    aria-selected=${isChosen ? isChosen(row) : isCurrent} onclick=${() => onCurrent?.(key)} ondblclick=${() => onOpen?.(row)}>
    ${columns.map((column) => html`<div role="gridcell" key=${column.key} class=${column.isNumber ? "number" : ""}>${column.draw(row, index)}</div>`)}
  </div>`;
}
