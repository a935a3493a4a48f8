// The whole of a curve below its chart, with the window that the chart shows.
import { html, useEffect, useRef } from "../vendor/preact.js";
import { number } from "../core/format.js";
import { useStore } from "../core/store.js";
import { colour, painted, strokeOf } from "./colors.js";

const HEIGHT = 36;

/**
 * An overview; its ends and its middle are dragged, or moved by arrow keys.
 * @param {{curves: import("./chart.js").Curve[], from: number | null, to: number | null, first: number, last: number,
 *   onZoom: (from: number | null, to: number | null) => void}} props
 */
export function Brush({ curves, from, to, first, last, onZoom }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const window_ = useRef(/** @type {HTMLDivElement | null} */ (null));
  const colours = useStore(painted);
  const span = Math.max(1, last - first);
  const [low, high] = [Math.max(first, from ?? first), Math.min(last, to ?? last)];

  useEffect(() => {
    const element = canvas.current;
    if (!element) return undefined;
    const draw = () => paint(element, curves, first, span);
    draw();
    const observer = new ResizeObserver(draw);
    observer.observe(element);
    return () => observer.disconnect();
  }, [curves, first, last, colours]);
  useEffect(() => {
    if (!window_.current) return;
    window_.current.style.left = `${(100 * (low - first)) / span}%`;
    window_.current.style.right = `${(100 * (last - high)) / span}%`;
  });

  function zoom(a, b) {
    const least = Math.max(1, span / 1e4);
    const start = Math.max(first, Math.min(a, b - least));
    const end = Math.min(last, Math.max(b, start + least));
    if (start <= first && end >= last) onZoom(null, null);
    else onZoom(Math.round(start), Math.round(end));
  }

  function drag(event) {
    const box = canvas.current?.getBoundingClientRect();
    if (!box || event.button) return;
    const step = (x) => first + (span * (x - box.left)) / box.width;
    const part = event.target.dataset.part;
    const begin = step(event.clientX);
    const move = (next) => {
      const now = step(next.clientX);
      if (part === "low") zoom(Math.min(now, high), high);
      else if (part === "high") zoom(low, Math.max(now, low));
      else if (part === "middle" && (low > first || high < last)) {
        const shift = Math.max(first - low, Math.min(last - high, now - begin));
        zoom(low + shift, high + shift);
      } else if (Math.abs(next.clientX - event.clientX) > 3) zoom(Math.min(begin, now), Math.max(begin, now));
    };
    const end = () => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", end);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
    if (part !== "low" && part !== "high") event.preventDefault(); // a handle takes the focus
  }

  const press = (part) => (event) => {
    const width = high - low;
    const by = ((event.shiftKey ? 0.25 : 0.05) * width || 1) * ({ ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key] ?? 0);
    if (event.key === "Home") zoom(part === "low" ? first : low, high);
    else if (event.key === "End") zoom(low, part === "high" ? last : high);
    else if (!by) return;
    else if (part === "low") zoom(low + by, high);
    else if (part === "high") zoom(low, high + by);
    event.preventDefault();
    event.stopPropagation();
  };
  const handle = (part, value, label) => html`<div class=${`handle ${part}`} data-part=${part} role="slider" tabindex="0"
    aria-label=${label} aria-valuemin=${first} aria-valuemax=${last} aria-valuenow=${Math.round(value)} aria-valuetext=${number(Math.round(value))}
    onkeydown=${press(part)}></div>`;
  return html`<div class="brush" onpointerdown=${drag} ondblclick=${() => onZoom(null, null)}>
    <canvas ref=${canvas} height=${HEIGHT} aria-hidden="true"></canvas>
    <div class="window" ref=${window_} data-part="middle">
      ${handle("low", low, "First step shown")}${handle("high", high, "Last step shown")}
    </div>
  </div>`;
}

function paint(element, curves, first, span) {
  const scale = devicePixelRatio;
  const width = (element.width = Math.max(1, element.clientWidth * scale));
  const height = (element.height = HEIGHT * scale);
  const context = element.getContext("2d");
  if (!context) return;
  const values = curves.flatMap((curve) => curve.mean).filter(Number.isFinite);
  const least = values.reduce((a, b) => Math.min(a, b), Infinity);
  const range = values.reduce((a, b) => Math.max(a, b), -Infinity) - least || 1;
  for (const curve of curves) {
    context.strokeStyle = colour(strokeOf(curve.label).variable);
    context.lineWidth = scale;
    context.beginPath();
    let isDown = false;
    curve.x.forEach((x, index) => {
      const value = curve.mean[index];
      if (!Number.isFinite(value)) return void (isDown = false);
      const point = [((x - first) / span) * width, height - 3 - ((value - least) / range) * (height - 6)];
      if (isDown) context.lineTo(point[0], point[1]);
      else context.moveTo(point[0], point[1]);
      isDown = true;
    });
    context.stroke();
  }
}
