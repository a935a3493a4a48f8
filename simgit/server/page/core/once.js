// Requests that are sent once, however often they are asked for.

/** Return a key that no other request has. */
function fresh() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Return headers for a request of a dialog: the same content has the same Idempotency-Key while the
 * dialog is open, so that a double click, or another try after a lost answer, does it once.
 */
export function onceKeys() {
  /** @type {Map<string, string>} */
  const keys = new Map();
  return {
    /** @param {unknown} content */
    headers(content) {
      const text = JSON.stringify(content);
      if (!keys.has(text)) keys.set(text, fresh());
      return { "Idempotency-Key": /** @type {string} */ (keys.get(text)) };
    },
    /** What was refused is asked anew the next time. @param {unknown} content */
    forget: (content) => keys.delete(JSON.stringify(content)),
  };
}
