// What happened along a curve, drawn on its chart.
import { colour } from "./colors.js";

/** Draw what happened along the curve, and the step that is shown elsewhere. */
export function drawMarks(u, { marks, cursor }) {
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
  const right = []; // where the text of a row ends: texts that would meet take the next row
  for (const { x, text } of [...marks].sort((a, b) => a.x - b.x)) {
    const left = line(x, "--muted", [4 * devicePixelRatio, 4 * devicePixelRatio]);
    if (left === null) continue;
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
