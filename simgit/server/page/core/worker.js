// One stream of events for all tabs: a browser opens only six connections to a server.
// As a SharedWorker it tells every tab; where there is none, live.js runs the same code in the tab.

const KINDS = ["tips", "run", "ref", "phase", "progress", "question", "line", "job", "operation", "gap"];
const AGAIN = 2000;

/** The stream, and what it has told: a new tab is told the same first. */
export class Stream {
  constructor() {
    /** @type {Set<(message: object) => void>} */
    this.listeners = new Set();
    /** @type {Map<string, object>} the newest message of each subject */
    this.levels = new Map();
    /** @type {EventSource | null} */
    this.source = null;
    this.state = "connecting";
  }

  /** Tell a listener what is there, and whatever comes. @param {(message: any) => void} listener */
  add(listener) {
    this.listeners.add(listener);
    listener({ kind: "connection", data: this.state });
    for (const message of this.levels.values()) listener(message);
    if (!this.source) this.open();
  }

  /** Tell a listener no more. @param {(message: any) => void} listener */
  remove(listener) {
    this.listeners.delete(listener);
    if (!this.listeners.size) this.close();
  }

  open() {
    const source = (this.source = new EventSource("/v1/events"));
    source.onopen = () => this.connection("live");
    source.onerror = () => {
      this.connection("lost");
      if (source.readyState !== EventSource.CLOSED || this.source !== source) return;
      this.ask(source);
      setTimeout(() => this.source === source && this.open(), AGAIN); // refused: the browser gives up
    };
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => this.tell({ kind, data: JSON.parse(event.data) }));
    }
  }

  /** Find out why the server refused the stream: a server that was started anew knows no session of before. */
  async ask(source) {
    const response = await fetch("/v1/version").catch(() => null);
    if (response && [401, 403, 421].includes(response.status) && this.source === source) this.connection("refused");
  }

  close() {
    this.source?.close();
    this.source = null;
    this.levels.clear();
    this.state = "connecting";
  }

  connection(state) {
    if (state === this.state || (state === "lost" && this.state === "refused")) return; // it is tried again and again
    this.state = state;
    this.tell({ kind: "connection", data: state });
  }

  tell(message) {
    const { kind, data } = message;
    if (kind === "tips") {
      this.levels.clear(); // it has all
      this.levels.set("tips", message);
    } else if (!["connection", "operation", "gap"].includes(kind)) {
      this.levels.set(`${kind} ${data.run ?? data.ref ?? data.job}`, message);
    }
    for (const listener of this.listeners) listener(message);
  }
}

if (typeof SharedWorkerGlobalScope !== "undefined" && self instanceof SharedWorkerGlobalScope) {
  const stream = new Stream();
  self.onconnect = (event) => {
    const port = event.ports[0];
    const listener = (message) => port.postMessage(message);
    port.onmessage = ({ data }) => (data === "hello" ? stream.add(listener) : stream.remove(listener));
    port.start();
  };
}
