// The connection to the daemon: its stream, or polling at the daemon's own pace where it has no stream to give.

const AGAIN_MS = 2_000;
const STREAM_AGAIN_MS = 30_000;

/** An answer as JSON; throws with the daemon's own words when there is none. */
export async function ask(path, signal) {
  const answer = await fetch(path, { signal });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(body.detail ?? `answered ${answer.status}`), { status: answer.status });
  return body;
}

/**
 * Keeps the connection open. `onMessage` hears each message of the stream as (kind, data); `refresh` is asked to fetch the
 * document at each poll, while there is no stream; `onState` hears `live` or `reconnecting`.
 */
export class Connection {
  #source = null;
  #lastId = null;
  #polling = null;

  constructor({ onMessage, refresh, onState, intervalMs }) {
    Object.assign(this, { onMessage, refresh, onState, intervalMs });
  }

  open() {
    const after = this.#lastId === null ? "" : `?after=${this.#lastId}`;
    const source = new EventSource(`/api/monitoring/stream${after}`);
    this.#source = source;
    for (const kind of ["hello", "metrics_update", "event", "agent_error", "alert", "gap"]) {
      source.addEventListener(kind, (message) => {
        if (message.lastEventId !== "") this.#lastId = message.lastEventId;
        if (kind === "hello") {
          this.#stopPolling();
          this.onState("live");
        }
        this.onMessage(kind, JSON.parse(message.data));
      });
    }
    source.addEventListener("error", () => {
      // While it is CONNECTING the browser comes back by itself, with the last id.
      if (source.readyState === EventSource.CLOSED) this.#poll();
      else this.onState("reconnecting");
    });
  }

  /** A page that is put away keeps no connection; there are few of them in a browser. */
  close() {
    this.#source?.close();
    this.#stopPolling();
  }

  #poll() {
    if (this.#polling !== null) return;
    const polling = { timer: 0, until: performance.now() + STREAM_AGAIN_MS };
    this.#polling = polling;
    const poll = async () => {
      let wait = this.intervalMs();
      try {
        await this.refresh();
        if (this.#polling === polling) this.onState("live");
      } catch {
        if (this.#polling === polling) this.onState("reconnecting");
        polling.until = 0;
        wait = AGAIN_MS;
      }
      if (this.#polling !== polling) return;
      polling.timer = setTimeout(performance.now() >= polling.until ? again : poll, wait);
    };
    const again = () => {
      this.#polling = null;
      this.open();
    };
    poll();
  }

  #stopPolling() {
    clearTimeout(this.#polling?.timer);
    this.#polling = null;
  }
}
