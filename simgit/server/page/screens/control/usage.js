// What a simulation takes of the machine now, with the last minute as small bars.
import { html } from "../../vendor/preact.js";
import { bytes, number } from "../../core/format.js";

const WIDTH = 4;
const HEIGHT = 22;

/** @param {{samples: Record<string, number>[], isOver: boolean}} props */
export function Usage({ samples, isOver }) {
  const newest = samples[samples.length - 1];
  if (!newest) return isOver ? null : html`<section class="panel" aria-label="Usage"><h2>Usage</h2><p class="muted">no sample yet: one every two seconds, where psutil is installed</p></section>`;
  return html`<section class="panel" aria-label="Usage"><h2>Usage</h2>
    <dl class="usage">
      <div><dt>CPU</dt><dd>${number(newest.cpu, 3)} %</dd><${Bars} values=${samples.map((each) => each.cpu)} most=${100} /></div>
      <div><dt>memory</dt><dd>${bytes(newest.memory)}</dd><${Bars} values=${samples.map((each) => each.memory)} most=${0} /></div>
      <div><dt>threads</dt><dd>${number(newest.threads)}</dd></div>
    </dl></section>`;
}

/** Bars of the last samples, the newest at the right. @param {{values: number[], most: number}} props */
function Bars({ values, most }) {
  const top = Math.max(most, ...values) || 1;
  const width = 40 * WIDTH;
  return html`<svg class="bars" width=${width} height=${HEIGHT} viewBox=${`0 0 ${width} ${HEIGHT}`} aria-hidden="true">
    ${values.map((value, index) => {
      const height = Math.max(1, (HEIGHT * value) / top);
      return html`<rect x=${width - (values.length - index) * WIDTH} y=${HEIGHT - height} width=${WIDTH - 1} height=${height} />`;
    })}</svg>`;
}
