// The line to the daemon: its stream, or questions at the daemon's own pace where it has no stream to give.

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
 * Keeps the line open. `told` hears each message of the stream as (kind, data); `refresh` is asked to fetch the document
 * after every (re)connection, and at each turn while there is no stream; `state` hears `live` or `reconnecting`.
 */
export class Line {
  #source = null;
  #lastId = null;
  #turns = null;

  constructor({ told, refresh, state, intervalMs }) {
    Object.assign(this, { told, refresh, state, intervalMs });
  }

  open() {
    const after = this.#lastId === null ? "" : `?after=${this.#lastId}`;
    const source = new EventSource(`/api/monitoring/stream${after}`);
    this.#source = source;
    for (const kind of ["hello", "metrics_update", "event", "agent_error", "alert", "gap"]) {
      source.addEventListener(kind, (message) => {
        if (message.lastEventId !== "") this.#lastId = message.lastEventId;
        if (kind === "hello") {
          this.#stopTurns();
          this.state("live");
        }
        this.told(kind, JSON.parse(message.data));
      });
    }
    source.addEventListener("error", () => {
      // While it is CONNECTING the browser comes back by itself, with the last id.
      if (source.readyState === EventSource.CLOSED) this.#withoutStream();
      else this.state("reconnecting");
    });
  }

  /** A page that is put away keeps no connection; there are few of them in a browser. */
  close() {
    this.#source?.close();
    this.#stopTurns();
  }

  #withoutStream() {
    if (this.#turns !== null) return;
    const turns = { timer: 0, until: performance.now() + STREAM_AGAIN_MS };
    this.#turns = turns;
    const turn = async () => {
      let wait = this.intervalMs();
      try {
        await this.refresh();
        if (this.#turns === turns) this.state("live");
      } catch {
        if (this.#turns === turns) this.state("reconnecting");
        turns.until = 0;
        wait = AGAIN_MS;
      }
      if (this.#turns !== turns) return;
      if (performance.now() >= turns.until) {
        this.#turns = null;
        turns.timer = setTimeout(() => this.open(), wait);
      } else turns.timer = setTimeout(turn, wait);
    };
    turn();
  }

  #stopTurns() {
    clearTimeout(this.#turns?.timer);
    this.#turns = null;
  }
}
