// Colours and strokes of curves: those of a run stay, whatever else is shown.
import { Store } from "../core/store.js";

const COUNT = 10; // --curve-0 … --curve-9 in style.css
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
/** @type {Map<string, number>} */
const given = new Map();

/** Return the stroke of a curve; after ten colours the dashes differ. @param {string} name */
export function strokeOf(name) {
  if (!given.has(name)) given.set(name, given.size);
  const place = given.get(name) ?? 0;
  return { variable: `--curve-${place % COUNT}`, dash: DASHES[Math.floor(place / COUNT) % DASHES.length], index: place % COUNT };
}

/** Return the value of a variable of the style sheet. @param {string} name */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** "light", "dark", or "" for what the system says. */
export const theme = new Store(localStorage.getItem("simgit.theme") ?? "");
/** Counts changes of the colours: what is drawn on a canvas follows. */
export const painted = new Store(0);

function paint() {
  if (theme.value) document.documentElement.dataset.theme = theme.value;
  else delete document.documentElement.dataset.theme;
  painted.set((count) => count + 1);
}

theme.follow((value) => {
  localStorage.setItem("simgit.theme", value);
  paint();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
paint();
