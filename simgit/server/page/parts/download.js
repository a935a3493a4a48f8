// Curves as files.
import { strokeOf, colour } from "./colors.js";

const SIZE = [960, 360];
const EDGE = 48;

/** Let the browser save data. @param {string} name @param {Blob} data */
export function save(name, data) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(data);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** A text that a spreadsheet would take for a formula begins with an apostrophe. */
function cell(text) {
  const safe = /^[=+@\t\r-]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
const figure = (value) => (value === null ? "" : Number.isFinite(value) ? String(value) : String(value).replace("Infinity", "inf").toLowerCase());

/** Return the buckets as lines of CSV. @param {import("./chart.js").Curve[]} curves @param {string} x */
export function toCsv(curves, x) {
  const lines = curves.flatMap((curve) => curve.x.map((at, index) =>
    [cell(curve.run), cell(curve.field), at, curve.width, ...[curve.mean, curve.min, curve.max].map((values) => figure(values[index]))].join(",")));
  return new Blob([`${["run", "field", x, "width", "mean", "min", "max"].join(",")}\n${lines.join("\n")}\n`], { type: "text/csv" });
}

/** Return a drawing that any program shows. @param {import("./chart.js").Curve[]} curves @param {string} x */
export function toSvg(curves, x) {
  const [width, height] = SIZE;
  const values = curves.flatMap((curve) => curve.line).filter(Number.isFinite);
  const xs = curves.flatMap((curve) => [curve.x[0], curve.x[curve.x.length - 1]]).filter((value) => value !== undefined);
  const [low, high] = [values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), -Infinity)];
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  const left = (at) => EDGE + ((at - first) / (last - first || 1)) * (width - 2 * EDGE);
  const top = (value) => height - EDGE - ((value - low) / (high - low || 1)) * (height - 2 * EDGE);
  const text = (content, at, y, more = "") => `<text x="${at}" y="${y}" font-family="sans-serif" font-size="12" ${more}>${escaped(content)}</text>`;
  const lines = curves.map((curve) => {
    const { variable, dash } = strokeOf(curve.label);
    const points = curve.x.map((at, index) => [at, curve.line[index]]).filter(([, value]) => Number.isFinite(value))
      .map(([at, value]) => `${left(at).toFixed(1)},${top(value).toFixed(1)}`).join(" ");
    return `<polyline points="${points}" fill="none" stroke="${colour(variable)}" stroke-width="1.5" stroke-dasharray="${dash.join(" ")}"/>`;
  });
  const legend = curves.map((curve, index) => text(curve.label, EDGE + 8, EDGE + 16 * index, `fill="${colour(strokeOf(curve.label).variable)}"`));
  const frame = `<path d="M${EDGE} ${EDGE / 2}V${height - EDGE}H${width - EDGE}" fill="none" stroke="#666"/>`;
  const labels = [text(String(first), EDGE, height - EDGE + 16), text(String(last), width - EDGE, height - EDGE + 16, 'text-anchor="end"'),
    text(x, width / 2, height - 12, 'text-anchor="middle"'), text(String(high), EDGE - 6, EDGE, 'text-anchor="end"'), text(String(low), EDGE - 6, height - EDGE, 'text-anchor="end"')];
  const body = `<rect width="100%" height="100%" fill="white"/>${frame}${lines.join("")}${legend.join("")}${labels.join("")}`;
  return new Blob([`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${body}</svg>`], { type: "image/svg+xml" });
}

const escaped = (text) => text.replace(/[&<>"]/g, (found) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[found] ?? found);

/** Return the same drawing as a picture. @param {import("./chart.js").Curve[]} curves @param {string} x @returns {Promise<Blob>} */
export async function toPng(curves, x) {
  const picture = new Image();
  picture.src = URL.createObjectURL(toSvg(curves, x));
  await picture.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = SIZE.map((each) => 2 * each);
  canvas.getContext("2d")?.drawImage(picture, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(picture.src);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
