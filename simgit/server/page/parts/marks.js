// What happened along a curve, drawn on its chart.
import { colour, strokeOf } from "./colors.js";

/** A mark: run: the curve on which it has a sign, note: what is said of it. @typedef {{x: number, text: string, run?: string, note?: string}} Mark */

const MOST = 200; // signs
const LONGEST = 40; // characters of a text on the chart; the list has all

/** Draw what happened along the curve, and the step that is shown elsewhere. */
export function drawMarks(u, { marks, curves, cursor }) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.textAlign = "left";
  ctx.font = `${11 * devicePixelRatio}px ${colour("--font")}`;
  const line = (x, variable, dash) => {
    const left = u.valToPos(x, "x", true);
    if (left < bbox.left - 1 || left > bbox.left + bbox.width + 1) return null;
    ctx.strokeStyle = ctx.fillStyle = colour(variable);
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
    return left;
  };
  placeSigns(u, marks, curves);
  const right = []; // where the text of a row ends: texts that would meet take the next row
  for (const { x, text: whole } of marks.filter((mark) => mark.text).sort((a, b) => a.x - b.x)) {
    const left = line(x, "--muted", [4 * devicePixelRatio, 4 * devicePixelRatio]);
    if (left === null) continue;
    const text = whole.length > LONGEST ? `${whole.slice(0, LONGEST - 1)}…` : whole;
    const width = ctx.measureText(text).width + 8 * devicePixelRatio;
    const start = left + width > bbox.left + bbox.width ? left - width : left + 4 * devicePixelRatio;
    const row = [0, 1, 2].find((each) => (right[each] ?? -Infinity) < start) ?? 3;
    right[row] = start + width;
    if (row < 3) ctx.fillText(text, start, bbox.top + (12 + 13 * row) * devicePixelRatio);
  }
  if (cursor !== null && cursor !== undefined) {
    ctx.lineWidth = 1.5 * devicePixelRatio;
    line(cursor, "--accent", []);
  }
  ctx.restore();
}

/** Put a sign on the curve of each mark that is of one; pointing at it tells what it is. The list of marks says the same. */
function placeSigns(u, marks, curves) {
  const wanted = curves.flatMap((curve) => marks.filter((mark) => mark.run === curve.run).map((mark) => ({ mark, curve }))).slice(-MOST);
  const there = [...u.over.querySelectorAll(".mark")];
  for (const sign of there.slice(wanted.length)) sign.remove();
  const { min, max } = u.scales.x;
  wanted.forEach(({ mark, curve }, index) => {
    const sign = there[index] ?? u.over.appendChild(document.createElement("span"));
    const value = heightAt(curve, mark.x);
    const top = value === null ? u.over.clientHeight : Math.max(0, Math.min(u.over.clientHeight, u.valToPos(value, "y")));
    Object.assign(sign, { className: "mark", textContent: "◆", title: mark.note ?? mark.text, ariaHidden: "true", hidden: mark.x < min || mark.x > max });
    Object.assign(sign.style, { left: `${u.valToPos(mark.x, "x")}px`, top: `${top}px`, color: colour(strokeOf(curve.label).variable) });
  });
}

/** Return the height of a curve at x, between its points; null where it has none. */
function heightAt({ x: xs, line }, x) {
  const next = xs.findIndex((each) => each > x);
  const before = next === -1 ? xs.length - 1 : next - 1;
  const [low, high] = [line[before], line[next]];
  if (!Number.isFinite(low)) return Number.isFinite(high) ? high : null;
  if (!Number.isFinite(high) || xs[before] === x) return low;
  return low + ((high - low) * (x - xs[before])) / (xs[next] - xs[before]);
}
