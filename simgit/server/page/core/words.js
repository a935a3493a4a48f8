// What conditions, orders, columns and measures can name: fields, settings and functions.
import { plain } from "./format.js";

/** Columns of runs, as 'simgit run list' has them. */
export const FIELDS = ["name", "status", "parent", "seed", "step", "states", "episodes", "return", "last_return", "best_return", "mean_return",
  "last_length", "mean_length", "created", "ended", "time"];
/** Measures that are worth to be offered. */
export const MEASURES = ["mean(return, 10)", "max(return)", "last(return)", "median(return, 100)", "mean(length, 10)", "max(length)", "mean(reward)"];
const FUNCTIONS = ["mean(", "median(", "min(", "max(", "sum(", "std(", "first(", "last(", "abs(", "len("];
const STATUSES = ["active", "paused", "completed", "failed", "crashed"].map((each) => `"${each}"`);
const JOINS = ["and", "or", "not"];

/** Return settings with dotted names. @param {Record<string, any>} config */
export function flat(config, above = "") {
  return Object.entries(config ?? {}).flatMap(([key, value]) =>
    value && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length ? flat(value, `${above}${key}.`) : [[above + key, value]]);
}

/**
 * Return the settings of runs by their names, those that differ between runs first.
 * @param {Iterable<import("./runs.js").Run>} runs
 * @returns {{name: string, differs: boolean}[]}
 */
export function settingsOf(runs) {
  /** @type {Map<string, Set<string>>} */
  const values = new Map();
  const all = [...runs];
  const counts = new Map();
  for (const run of all) {
    for (const [key, value] of flat(run.config)) {
      const name = `config.${key}`;
      if (!values.has(name)) values.set(name, new Set());
      values.get(name)?.add(JSON.stringify(value));
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
  }
  const found = [...values].map(([name, each]) => ({ name, differs: each.size > 1 || counts.get(name) < all.length }));
  return found.sort((a, b) => Number(b.differs) - Number(a.differs) || (a.name < b.name ? -1 : 1));
}

/** @typedef {{text: string, note: string}} Word */

/** Return what a condition on runs can be made of. @param {Iterable<import("./runs.js").Run>} runs @returns {Word[]} */
export function wordsOf(runs) {
  const told = (texts, note) => texts.map((text) => ({ text, note }));
  return [...told(FIELDS, "field"), ...settingsOf(runs).map(({ name, differs }) => ({ text: name, note: differs ? "setting that differs" : "setting" })),
    ...told(MEASURES, "measure"), ...told(FUNCTIONS, "function"), ...told(STATUSES, "status"), ...told(JOINS, "joins conditions")];
}

const WORD = /"?[\w.]+$/;
const MOST = 12;

/**
 * Return the words that may stand where the caret is, and the part of the text that they replace.
 * @param {string} text @param {number} caret @param {Word[]} words
 */
export function complete(text, caret, words) {
  const begun = WORD.exec(text.slice(0, caret))?.[0] ?? "";
  const from = caret - begun.length;
  const wanted = begun.toLowerCase();
  if (!wanted) return { from, to: caret, words: text.trim() ? [] : words.slice(0, MOST) };
  const places = words.map((word) => ({ word, at: word.text.toLowerCase().indexOf(wanted) }));
  const found = places.filter(({ word, at }) => at >= 0 && word.text !== begun).sort((a, b) => Number(a.at > 0) - Number(b.at > 0));
  return { from, to: caret, words: found.slice(0, MOST).map(({ word }) => word) };
}

/** Return one of many texts that begin or continue as what is typed. @param {string} text @param {Word[]} words */
export function choices(text, words) {
  const wanted = text.trim().toLowerCase();
  const found = words.filter((word) => plain(word.text).toLowerCase().includes(wanted) && word.text !== text);
  return { from: 0, to: text.length, words: found.slice(0, MOST) };
}
