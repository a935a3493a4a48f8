// Names of elements that others refer to.
import { useState } from "../vendor/preact.js";

let count = 0;

/** Return a name that no other element of the page has. */
export function useId() {
  const [id] = useState(() => `id-${++count}`);
  return id;
}
