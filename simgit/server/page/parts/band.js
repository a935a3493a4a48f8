// Least to greatest of each curve, drawn on its chart.
// Without a graphics processor a browser fills shapes whose edges are smoothed slowly, whole pixels fast.
import { colour, strokeOf } from "./colors.js";

const NARROW = 5; // pixels: wider buckets are joined by lines

/** Draw the bands of curves below their lines. @param {any} u the plot @param {import("./chart.js").Curve[]} curves */
export function drawBands(u, curves) {
  const { ctx, bbox } = u;
  const { x: along, y: across } = u.scales;
  if (!curves.length || along.min === null || across.min === null) return;
  const left = (value) => bbox.left + ((value - along.min) / (along.max - along.min)) * bbox.width;
  const top = (value) => bbox.top + ((across.max - value) / (across.max - across.min)) * bbox.height;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  curves.forEach((curve, index) => {
    ctx.globalAlpha = u.series[1 + 3 * index]?.alpha ?? 1;
    ctx.fillStyle = `${colour(strokeOf(curve.label).variable)}26`;
    const points = within(curve, along.min, along.max, left, top);
    const width = points.length > 1 ? (points[points.length - 1].x - points[0].x) / (points.length - 1) : Infinity;
    if (width < NARROW * devicePixelRatio) columns(ctx, points, width);
    else polygons(ctx, points);
  });
  ctx.restore();
}

/** Return the points between two places on the canvas, and one beyond on each side; low is NaN in a gap. */
function within({ x, min, max }, from, to, left, top) {
  const found = [];
  for (let i = Math.max(0, x.findIndex((each) => each >= from) - 1); i < x.length; i++) {
    const isThere = Number.isFinite(min[i]) && Number.isFinite(max[i]);
    found.push({ x: left(x[i]), low: isThere ? top(min[i]) : NaN, high: isThere ? top(max[i]) : NaN });
    if (x[i] > to) break;
  }
  return found;
}

/** Fill a column for each bucket, on whole pixels: none is filled twice. */
function columns(ctx, points, width) {
  points.forEach(({ x, low, high }, index) => {
    if (Number.isNaN(low)) return;
    const start = Math.round(x);
    const stop = Math.round(Math.min(points[index + 1]?.x ?? Infinity, x + 2 * width));
    ctx.fillRect(start, Math.round(high), stop - start, Math.max(1, Math.round(low) - Math.round(high)));
  });
}

/** Fill what lies between the lines that join the greatest and the least, from gap to gap. */
function polygons(ctx, points) {
  for (let start = 0; start < points.length; start++) {
    let stop = start;
    while (stop < points.length && !Number.isNaN(points[stop].low)) stop++;
    if (stop === start) continue;
    ctx.beginPath();
    for (let i = start; i < stop; i++) ctx.lineTo(points[i].x, points[i].high);
    for (let i = stop - 1; i >= start; i--) ctx.lineTo(points[i].x, points[i].low);
    ctx.fill();
    start = stop;
  }
}
