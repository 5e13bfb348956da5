// Requests to the controller, and its stream of events.

const KEY = "sipgrace.token";

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

export class Problem extends Error {
  constructor(status, detail) { super(detail); this.status = status; }
}

let onUnknown = () => {};
export const whenUnknown = (callback) => { onUnknown = callback; };

async function problemIn(response) {
  let detail = `${response.status} ${response.statusText}`;
  try { detail = (await response.json()).detail ?? detail; } catch { /* it was no problem of ours */ }
  return new Problem(response.status, detail);
}

export async function ask(method, path, body) {
  const headers = { Authorization: `Bearer ${token.get() ?? ""}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(`/api/v1/${path}`, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
    });
  } catch {
    throw new Problem(0, "The controller cannot be reached. Calls and drains go on without it.");
  }
  if (!response.ok) {
    const problem = await problemIn(response);
    if (problem.status === 401) onUnknown(problem.message);
    throw problem;
  }
  return response.status === 204 ? null : response.json();
}

// EventSource cannot send a token in a header, so the stream is read here.
export class Events {
  constructor(onEvent, onState) {
    this.onEvent = onEvent;
    this.onState = onState;
    this.last = "";
    this.wait = 500;
    this.stopped = false;
  }

  async run() {
    while (!this.stopped) {
      try { await this.read(); } catch (error) {
        if (error instanceof Problem && error.status === 401) { onUnknown(error.message); return; }
      }
      if (this.stopped) return;
      this.onState("lost");
      await new Promise((resolve) => setTimeout(resolve, this.wait * (0.75 + Math.random() / 2)));
      this.wait = Math.min(10000, this.wait * 1.7);
    }
  }

  stop() { this.stopped = true; this.aborter?.abort(); }

  async read() {
    this.aborter = new AbortController();
    const headers = { Authorization: `Bearer ${token.get() ?? ""}`, Accept: "text/event-stream" };
    if (this.last) headers["Last-Event-ID"] = this.last;
    const response = await fetch("/api/v1/events", { headers, signal: this.aborter.signal, cache: "no-store" });
    if (!response.ok) throw await problemIn(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "", quiet;
    // There is a sign of life every fifteen seconds.
    const alive = () => { clearTimeout(quiet); quiet = setTimeout(() => this.aborter.abort(), 40000); };
    try {
      for (;;) {
        alive();
        const { value, done } = await reader.read();
        if (done) return;
        text += value;
        for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) this.block(text.slice(0, end));
      }
    } finally { clearTimeout(quiet); }
  }

  block(text) {
    let kind = "", data = "";
    for (const line of text.split("\n")) {
      if (line.startsWith("id: ")) this.last = line.slice(4);
      else if (line.startsWith("event: ")) kind = line.slice(7);
      else if (line.startsWith("data: ")) data += line.slice(6);
    }
    if (!kind) return;
    if (kind === "hello") { this.wait = 500; this.onState("live"); }
    this.onEvent(kind, JSON.parse(data));
  }
}
