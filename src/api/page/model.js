// What is known: the daemon's dashboard document, and what the stream said since. No DOM here.

/** Stretches of time that a sparkline shows. */
export const BUCKETS = 60;
const EVENTS_KEPT = 200;

/** The last while of one number: the maximum of each stretch of time. */
export class Trail {
  constructor(stepMs) {
    this.stepMs = stepMs;
    this.last = -Infinity;
    this.values = new Float32Array(BUCKETS).fill(NaN);
  }

  /** Takes a value in. What is not known leaves its stretch empty. */
  add(ms, value) {
    const bucket = Math.floor(ms / this.stepMs);
    if (bucket > this.last) {
      const shift = Math.min(BUCKETS, bucket - this.last);
      this.values.copyWithin(0, shift);
      this.values.fill(NaN, BUCKETS - shift);
      this.last = bucket;
    }
    const at = BUCKETS - 1 - (this.last - bucket);
    if (at < 0 || value === null || value === undefined) return;
    if (!(this.values[at] >= value)) this.values[at] = value;
  }
}

export class Model {
  constructor() {
    this.agents = new Map();
    this.events = [];
    this.alerts = [];
    this.host = null;
    this.status = null;
    this.at = null;
    this.intervalMs = 10_000;
    this.trails = new Map();
    this.lastEvent = new Map();
  }

  /** What one stretch of a sparkline covers: all of it five minutes, or more where samples are rarer. */
  get stepMs() {
    return Math.max(5_000, 2 * this.intervalMs);
  }

  get isEmpty() {
    return this.at === null;
  }

  /** Takes in a dashboard document: all agents and alerts as they are, and the newest events. */
  snapshot(document) {
    const fresh = this.at === null || Date.parse(document.generatedAt) > Date.parse(this.at);
    this.agents = new Map(document.agents.map((agent) => [agent.agentId, agent]));
    this.alerts = document.alerts;
    this.host = document.systemMetrics;
    this.at = document.generatedAt;
    this.addEvents(document.recentEvents);
    for (const id of this.trails.keys()) if (!this.agents.has(id)) this.trails.delete(id);
    for (const agent of document.agents) this.#follow(agent);
    return fresh;
  }

  /** Takes in a tick of the stream. False when it tells of what only the document can explain. */
  tick(update) {
    this.at = update.timestamp;
    this.host = update.systemMetrics;
    let known = (update.removed ?? []).every((id) => !this.agents.has(id));
    for (const { agentId, status, state, metrics } of update.agents) {
      const agent = this.agents.get(agentId);
      if (agent === undefined) {
        known = false;
        continue;
      }
      known &&= agent.state === state && agent.status === status;
      Object.assign(agent, { status, state, metrics });
      this.#follow(agent);
    }
    return known;
  }

  /** Takes in events in any order, those it has already too. */
  addEvents(events) {
    const words = (event) => `${event.timestamp} ${event.agent_id} ${event.event_type} ${event.message}`;
    const all = new Map([...this.events, ...events].map((event) => [event.id ?? words(event), event]));
    // One that was told before it was stored has its id by now.
    for (const event of [...all.values()]) if (event.id !== null) all.delete(words(event));
    this.events = [...all.values()].sort(newestFirst).slice(0, EVENTS_KEPT);
    for (const event of this.events.toReversed()) this.lastEvent.set(event.agent_id, event);
  }

  /** The past of an agent, as `history` answers it. */
  past(id, { t, cpuPercent, memoryMb }) {
    const [old, trails] = [this.trails.get(id), this.#newTrails()];
    t.forEach((ms, index) => {
      trails.cpu.add(ms, cpuPercent.max[index]);
      trails.memory.add(ms, memoryMb.max[index]);
    });
    for (const name of ["cpu", "memory"]) {
      const { values, last, stepMs } = old[name];
      values.forEach((value, at) => {
        if (!Number.isNaN(value)) trails[name].add((last - BUCKETS + 1 + at) * stepMs, value);
      });
    }
    this.trails.set(id, trails);
  }

  #newTrails() {
    const stepMs = this.stepMs;
    return { cpu: new Trail(stepMs), memory: new Trail(stepMs) };
  }

  #follow({ agentId, metrics }) {
    let trails = this.trails.get(agentId);
    if (trails === undefined) this.trails.set(agentId, (trails = this.#newTrails()));
    const ms = Date.parse(metrics.timestamp);
    trails.cpu.add(ms, metrics.cpuPercent);
    trails.memory.add(ms, metrics.memoryMb);
  }
}

function newestFirst(a, b) {
  return Date.parse(b.timestamp) - Date.parse(a.timestamp) || (b.id ?? Infinity) - (a.id ?? Infinity);
}

const RANK = { critical: 3, warning: 2, info: 1 };

/** Worst first, then the newest. */
export const worstFirst = (a, b) =>
  (RANK[b.severity] ?? 0) - (RANK[a.severity] ?? 0) || Date.parse(b.started_at) - Date.parse(a.started_at);

/** Whether an agent does not run that its registry says does. */
export const isDown = ({ status, registryStatus, state }) =>
  status === "offline" && registryStatus !== null && registryStatus !== "offline" && state !== "running";

/**
 * What is wrong with an agent: `rank` 3 critical, 2 warning, 1 worth a look, 0 well; `why` in words, the worst first.
 * `alerts` are those of this agent that fire.
 */
export function trouble(agent, alerts) {
  const reasons = [];
  const left = agent.leftovers.processCount;
  const down = isDown(agent);
  // Its pid is said elsewhere; here every word counts.
  if (agent.stateReason !== null) reasons.push([down ? 3 : 1, agent.stateReason.replace(/^process \d+ (?=ended)/, "")]);
  else if (down) reasons.push([3, `process ${agent.state}`]);
  for (const alert of alerts) {
    const rank = RANK[alert.severity] ?? 1;
    // What these two would say is said in fewer words.
    if (alert.type === "agent_down" && down) reasons[0][0] = rank;
    else if (alert.type !== "leftovers" || left === 0) reasons.push([rank, `${alert.type}: ${inBrief(alert)}`]);
  }
  const { errorCount } = agent.metrics;
  if (errorCount > 0) reasons.push([2, `${errorCount} unresolved ${errorCount === 1 ? "error" : "errors"}`]);
  if (left > 0) reasons.push([2, `${left} ${left === 1 ? "process" : "processes"} left behind`]);
  reasons.sort((a, b) => b[0] - a[0]);
  return { rank: reasons[0]?.[0] ?? 0, why: reasons.map(([, text]) => text) };
}

/** An alert's message without the agent it begins with, and without since when: both are shown beside it. */
export function withoutAgent({ agent_id: id, message }) {
  const rest = id !== null && message.startsWith(id) ? message.slice(id.length).replace(/^[\s:,]+/, "") : message;
  return rest.replace(/, since \d{4}-\d\d-\d\dT[\d:.]+Z/, "");
}

/** The same in a row: nothing of single processes, nor of the metric where the rule's name says it. */
const inBrief = (alert) => withoutAgent(alert).replace(/; (heaviest|left behind): .*$/s, "").replace(/^[a-z_]+ (?=[\d.]+ (above|below) )/, "");
