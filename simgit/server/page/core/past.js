// Looking at the repository as it was: 'as_of=N' in the address is part of every read.
import { place } from "./router.js";

/** What is only known of the present, and what shows the way back to it. */
const PRESENT = new Set(["version", "session", "settings", "types", "simulations", "lines", "usage", "questions", "answers", "events", "stats", "reflog",
  "unreachable", "machine", "jobs", "gc", "fsck", "verify", "exports", "operations", "changes", "undo", "redo", "restore", "openapi.json", "health"]);

/** Return the operation after which the repository is looked at; null for now. */
export const asOf = () => (/^\d+$/.test(place.value.query.as_of ?? "") ? Number(place.value.query.as_of) : null);

/** Return the same for reading a resource. @param {string} noun such as "simulations/stop" */
export const pastOf = (noun) => (PRESENT.has(noun.split("/")[0]) ? null : asOf());
