// The first view: what is wrong, the host, all agents, and what happened lately.

import { agentLink, ago, count, h, mark, memory, say } from "./dom.js";
import { isDown, withoutAgent, worstFirst } from "./model.js";
import { ask } from "./stream.js";
import { AgentTable } from "./table.js";

const ALERTS_SHOWN = 4;
const EVENTS_SHOWN = 40;
const PASTS_AT_ONCE = 2;

export class Overview {
  #asked = new Set();
  #wanted = [];
  #asking = 0;
  #allAlerts = false;

  constructor(model) {
    this.model = model;
    this.alerts = h("section", { class: "alerts", "aria-label": "Firing alerts", hidden: true });
    this.tiles = h("section", { class: "tiles", "aria-label": "Now" });
    this.tile = Object.fromEntries(
      [["agents", "Active agents"], ["load", "Load"], ["memory", "Memory"], ["errors", "Active errors"],
        ["own", "This monitor"]].map(([key, title]) => [key, tile(title)]));
    this.tiles.append(...Object.values(this.tile).map(({ node }) => node));
    this.table = new AgentTable(model, (ids) => this.#onScreen(ids));
    this.events = h("ol", { class: "events" });
    const feed = h("section", { class: "panel feed", "aria-labelledby": "events-title" },
      h("header", {}, h("h2", { id: "events-title" }, "Recent events")), this.events);
    this.node = h("div", { class: "overview" }, this.alerts, this.tiles, this.table.node, feed);
    this.title = "";
  }

  close() {
    this.table.close();
  }

  render() {
    const { model } = this;
    if (model.isEmpty) return;
    this.#renderAlerts();
    this.#renderTiles();
    this.table.render();
    renderEvents(this.events, model.events.slice(0, EVENTS_SHOWN), true);
  }

  key(key) {
    const moves = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
    if (key in moves) this.table.move(moves[key]);
    else if (key === "/") this.table.search.focus();
    else if (key === "Escape") this.table.find("");
    else return false;
    return true;
  }

  #renderAlerts() {
    const all = this.model.alerts.toSorted(worstFirst);
    const key = JSON.stringify([all, this.#allAlerts]);
    if (key === this.shownAlerts) return;
    this.shownAlerts = key;
    this.alerts.hidden = all.length === 0;
    const shown = this.#allAlerts ? all : all.slice(0, ALERTS_SHOWN);
    this.alerts.replaceChildren(...shown.map(alertLine));
    if (all.length <= ALERTS_SHOWN) return;
    const text = this.#allAlerts ? "Show the worst only" : `Show ${all.length - ALERTS_SHOWN} more`;
    this.alerts.append(h("button", { type: "button", onclick: () => {
      this.#allAlerts = !this.#allAlerts;
      this.#renderAlerts();
    } }, text));
  }

  #renderTiles() {
    const { agents, host, status } = this.model;
    const all = [...agents.values()];
    const running = all.filter(({ state }) => state === "running").length;
    const offline = all.filter((agent) => agent.status === "offline").length;
    const down = all.some(isDown);
    this.tile.agents.show(count(running), `of ${count(all.length)} known${offline > 0 ? `, ${offline} offline` : ""}`,
      down);
    this.tile.load.show(host.cpuUsage?.toFixed(2) ?? "–", `on ${host.cpuCount ?? "–"} cores`,
      host.cpuUsage > host.cpuCount, host.cpuUsage / host.cpuCount);
    const used = host.totalMemory === null || host.freeMemory === null ? null : host.totalMemory - host.freeMemory;
    this.tile.memory.show(memory(used), `of ${memory(host.totalMemory)} in use`, used > 0.9 * host.totalMemory,
      used / host.totalMemory);
    const errors = all.reduce((sum, { metrics }) => sum + metrics.errorCount, 0);
    const whose = all.filter(({ metrics }) => metrics.errorCount > 0).length;
    this.tile.errors.show(count(errors), errors === 0 ? "nothing unresolved"
      : `unresolved, of ${whose} ${whose === 1 ? "agent" : "agents"}`, errors > 0);
    if (status !== null) this.tile.own.show(...ownCost(status));
  }

  /** Asks for the past of agents that came on screen, a few at a time. */
  #onScreen(ids) {
    this.#wanted = ids.filter((id) => !this.#asked.has(id));
    while (this.#asking < PASTS_AT_ONCE && this.#wanted.length > 0) this.#askPast(this.#wanted.shift());
  }

  async #askPast(id) {
    this.#asked.add(id);
    this.#asking += 1;
    try {
      const step = Math.round(this.model.stepMs / 1000);
      const path = `/api/monitoring/agents/${encodeURIComponent(id)}/history`;
      const past = await ask(`${path}?from=-${step * 60}s&to=now&step=${step}s`);
      if (this.model.trails.has(id)) this.model.past(id, past);
    } catch {
      // Without its past a line begins now.
    }
    this.#asking -= 1;
    if (this.#wanted.length > 0) this.#askPast(this.#wanted.shift());
  }
}

function tile(title) {
  const value = h("strong", {});
  const note = h("span", { class: "note" });
  const meter = h("span", { class: "bar-fill" });
  const node = h("div", { class: "tile" }, h("h2", {}, title), value, note, h("span", { class: "bar-track" }, meter));
  return {
    node,
    show(text, words, bad, part) {
      say(value, text);
      say(note, words);
      mark(note, "title", words);
      mark(node, "data-bad", bad === true);
      mark(node, "data-part", Number.isFinite(part));
      if (Number.isFinite(part)) meter.style.width = `${Math.min(100, part * 100).toFixed(0)}%`;
    },
  };
}

const LOSSES = ["samplesDropped", "entriesDropped", "runsDropped"];

/** What the monitor costs, and what ails it: text, words, whether that is bad. */
function ownCost({ status, cpuSeconds, uptime, memoryMb, database, registry, counters, ownCpu }) {
  const share = ownCpu ?? (uptime > 0 ? (cpuSeconds / uptime) * 100 : null);
  const text = `${share === null ? "–" : share.toFixed(2)} % CPU`;
  const lost = LOSSES.reduce((sum, name) => sum + (counters[name] ?? 0), 0);
  const failing = registry.find((source) => source.status === "failing");
  const trouble = database.error ?? failing?.error ?? (lost > 0 ? `${lost} samples or entries lost` : null);
  if (trouble !== null) return [text, trouble, true];
  const { ticksSkipped: skipped } = counters;
  const late = skipped > 0 ? `, ${count(skipped)} ${skipped === 1 ? "pass" : "passes"} skipped` : "";
  return [text, `${memory(memoryMb)}, database ${memory(database.sizeBytes / 1048576)}${late}`, status !== "ready"];
}

/** A firing alert on one line. */
export function alertLine(alert) {
  return h("p", { class: "alert", "data-severity": alert.severity },
    h("span", { class: "pill", "data-shape": alert.severity === "critical" ? "bad" : "warn" }, alert.severity),
    agentLink(alert.agent_id), h("strong", {}, alert.type), h("span", { class: "message" }, withoutAgent(alert)),
    h("span", { class: "when" }, ago(alert.started_at)));
}

const TONE = { error: "bad", warning: "warn", started: "good", restarted: "good", stopped: "off" };

/** Fills a list with events, newest first; those that stay keep their nodes. */
export function renderEvents(list, events, named) {
  const key = ({ id, timestamp, message }) => String(id ?? `${timestamp} ${message}`);
  const old = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const nodes = events.map((event) => {
    const kept = old.get(key(event));
    if (kept !== undefined) return kept;
    const node = h("li", { "data-key": key(event), ...(event.id !== null && { id: `event-${event.id}` }) },
      h("span", { class: "pill", "data-shape": TONE[event.event_type] ?? "plain" }, event.event_type),
      named && agentLink(event.agent_id), ago(event.timestamp), h("p", {}, event.message));
    return node;
  });
  if (nodes.length === 0) nodes.push(h("li", { class: "empty" }, "Nothing happened yet. Starts, ends and what agents report appear here."));
  if (nodes.length !== list.children.length || nodes.some((node, index) => node !== list.children[index])) {
    list.replaceChildren(...nodes);
  }
}
