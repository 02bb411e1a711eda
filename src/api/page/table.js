// The agents' table: sorted, filtered, and drawn only where it is on screen.

import { age, agentPath, count, h, mark, memory, percent, say } from "./dom.js";
import { sparkline } from "./chart.js";
import { trouble } from "./model.js";

/** Every row is this high, so that a place in the list is a place on the screen. Said in table.css as well. */
const ROW_PX = 48;
const SPARE_ROWS = 6;

const by = (value) => (a, b) => value(b) - value(a);
const known = (value) => value ?? -1;

// [key, title, order (the natural one first), class]
const COLUMNS = [
  ["trouble", "Agent", (a, b) => b.rank - a.rank, "who"],
  ["cpu", "CPU", by(({ agent }) => known(agent.metrics.cpuPercent)), "meter"],
  ["memory", "Memory", by(({ agent }) => known(agent.metrics.memoryMb)), "meter"],
  ["processes", "Processes", by(({ agent }) => known(agent.metrics.processCount)), "number wide"],
  ["messages", "Messages", by(({ agent }) => known(agent.metrics.messageCount)), "number wider"],
  ["errors", "Errors", by(({ agent }) => agent.metrics.errorCount), "number wide"],
  ["leftovers", "Left behind", by(({ agent }) => agent.leftovers.processCount), "number wide"],
  ["restarts", "Restarts", by(({ agent }) => agent.restarts), "number wider"],
  ["event", "Last event", by(({ event }) => (event ? Date.parse(event.timestamp) : 0)), "event widest"],
];

export class AgentTable {
  #rows = [];
  #drawn = new Map();
  #chosen = null;

  /** `seen` hears which agents came on screen. */
  constructor(model, seen) {
    this.model = model;
    this.seen = seen;
    this.sort = { key: "trouble", reverse: false };
    this.filter = "";
    this.search = h("input", {
      type: "search", placeholder: "Filter  /", "aria-label": "Filter agents by id, name, status or trouble",
      autocomplete: "off", spellcheck: "false",
      oninput: () => this.find(this.search.value),
    });
    this.tally = h("span", { class: "quiet", role: "status" });
    this.heads = COLUMNS.map(([key, title, , style]) => {
      const button = h("button", { type: "button", onclick: () => this.sortBy(key) }, title);
      return h("th", { scope: "col", class: style }, button);
    });
    this.above = h("tr", { class: "space", "aria-hidden": "true" }, h("td"));
    this.below = this.above.cloneNode(true);
    this.body = h("tbody", {}, this.above, this.below);
    this.table = h("table", { class: "agents" },
      h("caption", { class: "unseen" }, "Agents, those in trouble first"),
      h("thead", {}, h("tr", {}, ...this.heads)), this.body);
    this.empty = h("div", { class: "empty", hidden: true });
    this.box = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of agents" }, this.table);
    this.box.addEventListener("scroll", () => this.#draw(), { passive: true });
    this.watcher = new ResizeObserver(() => this.#draw());
    this.watcher.observe(this.box);
    this.node = h("section", { class: "panel fleet", "aria-labelledby": "agents-title" },
      h("header", {}, h("h2", { id: "agents-title" }, "Agents"), this.tally, this.search), this.box, this.empty);
  }

  close() {
    this.watcher.disconnect();
  }

  find(text) {
    this.search.value = text;
    this.filter = text.trim().toLowerCase();
    this.box.scrollTop = 0;
    this.render();
  }

  sortBy(key) {
    this.sort = { key, reverse: this.sort.key === key && !this.sort.reverse };
    this.render();
  }

  /** Moves the choice up or down by so many rows, and shows it. */
  move(steps) {
    if (this.#rows.length === 0) return;
    const at = this.#rows.findIndex(({ agent }) => agent.agentId === this.#chosen);
    const next = at < 0 ? 0 : Math.min(this.#rows.length - 1, Math.max(0, at + steps));
    this.#chosen = this.#rows[next].agent.agentId;
    const { clientHeight, scrollTop } = this.box;
    const room = clientHeight - this.table.tHead.offsetHeight;
    if (next * ROW_PX < scrollTop) this.box.scrollTop = next * ROW_PX;
    else if ((next + 1) * ROW_PX > scrollTop + room) this.box.scrollTop = (next + 1) * ROW_PX - room;
    this.#draw();
    this.#drawn.get(this.#chosen)?.link.focus({ preventScroll: true });
  }

  /** Brings the table up to date with the model. */
  render() {
    const { model, sort } = this;
    const alerts = Map.groupBy(model.alerts, (alert) => alert.agent_id);
    const all = [...model.agents.values()].map((agent) => ({
      agent,
      event: model.lastEvent.get(agent.agentId),
      ...trouble(agent, alerts.get(agent.agentId) ?? []),
    }));
    const order = COLUMNS.find(([key]) => key === sort.key)[2];
    const id = (a, b) => (a.agent.agentId < b.agent.agentId ? -1 : 1);
    this.#rows = all.filter((row) => this.#takes(row)).sort((a, b) => order(a, b) || id(a, b));
    if (sort.reverse) this.#rows.reverse();
    COLUMNS.forEach(([key], index) => {
      const word = sort.reverse ? "ascending" : "descending";
      mark(this.heads[index], "aria-sort", key === sort.key ? word : null);
    });
    const [shown, total] = [this.#rows.length, all.length];
    say(this.tally, shown === total ? count(total) : `${count(shown)} of ${count(total)}`);
    mark(this.table, "aria-rowcount", shown + 1);
    this.box.hidden = shown === 0;
    this.empty.hidden = shown > 0;
    if (shown === 0) this.empty.replaceChildren(...(total === 0 ? this.#nobody() : this.#nothingFound()));
    this.#draw();
  }

  #takes({ agent, why }) {
    const { filter } = this;
    const has = (text) => text?.toLowerCase().includes(filter);
    return filter === "" || has(agent.agentId) || has(agent.name) || has(agent.status) || why.some(has);
  }

  #nobody() {
    const example = '[{"agentId": "coder", "status": "online", "metadata": {"pid": 4711}}]';
    return [
      h("h3", {}, "No agents yet"),
      h("p", {}, "The registry names none, and no known agent program runs. Start one, or say where your broker's list is:"),
      h("pre", { tabindex: "0" }, `agent-monitor run --registry agents.json\n# agents.json: ${example}`),
      h("p", {}, "or watch one process: ", h("code", {}, "agent-monitor run --agent coder=4711")),
    ];
  }

  #nothingFound() {
    return [
      h("h3", {}, "No agent matches"),
      h("p", {}, h("button", { type: "button", onclick: () => this.find("") }, "Clear the filter")),
    ];
  }

  #draw() {
    const rows = this.#rows;
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_PX) - SPARE_ROWS);
    const last = Math.min(rows.length, first + Math.ceil(this.box.clientHeight / ROW_PX) + 2 * SPARE_ROWS);
    this.above.firstChild.style.height = `${first * ROW_PX}px`;
    this.below.firstChild.style.height = `${(rows.length - last) * ROW_PX}px`;
    const wanted = rows.slice(first, last);
    const ids = new Set(wanted.map(({ agent }) => agent.agentId));
    for (const [id, row] of this.#drawn) {
      if (ids.has(id)) continue;
      row.node.remove();
      this.#drawn.delete(id);
    }
    let before = this.above;
    const now = Date.now();
    wanted.forEach((row, index) => {
      const { agentId } = row.agent;
      let drawn = this.#drawn.get(agentId);
      if (drawn === undefined) this.#drawn.set(agentId, (drawn = new Row(agentId)));
      drawn.show(row, this.model.trails.get(agentId), now);
      mark(drawn.node, "aria-rowindex", first + index + 2);
      mark(drawn.node, "class", agentId === this.#chosen ? "chosen" : null);
      if (before.nextSibling !== drawn.node) before.after(drawn.node);
      before = drawn.node;
    });
    this.seen([...ids]);
  }
}

/** The nodes of one agent's row. */
class Row {
  constructor(id) {
    this.link = h("a", { class: "agent", href: agentPath(id) }, id);
    this.name = h("span", { class: "quiet name" });
    this.pill = h("span", { class: "pill" });
    this.why = h("span", { class: "why" });
    this.cpu = new Meter("CPU");
    this.memory = new Meter("memory");
    const number = (style) => h("td", { class: style });
    this.cells = Object.fromEntries(COLUMNS.slice(3).map(([key, , , style]) => [key, number(style)]));
    this.node = h("tr", {},
      h("th", { scope: "row", class: "who" },
        h("div", { class: "line" }, this.pill, this.link, this.name), h("div", { class: "line" }, this.why)),
      h("td", { class: "meter" }, this.cpu.node), h("td", { class: "meter" }, this.memory.node),
      ...Object.values(this.cells));
  }

  show({ agent, event, rank, why }, trails, now) {
    const { metrics } = agent;
    mark(this.node, "data-rank", rank);
    showPill(this.pill, agent, rank);
    say(this.name, agent.name !== null && agent.name !== agent.agentId ? agent.name : "");
    say(this.why, rank === 0 ? quietly(agent, now) : why.join(" · "));
    mark(this.why, "title", rank === 0 ? null : why.join("\n"));
    this.cpu.show(percent(metrics.cpuPercent), trails?.cpu.values, 10);
    this.memory.show(memory(metrics.memoryMb), trails?.memory.values, 16);
    const { cells } = this;
    say(cells.processes, count(metrics.processCount));
    say(cells.messages, count(metrics.messageCount));
    say(cells.errors, count(metrics.errorCount));
    mark(cells.errors, "data-bad", metrics.errorCount > 0);
    say(cells.leftovers, count(agent.leftovers.processCount));
    mark(cells.leftovers, "data-bad", agent.leftovers.processCount > 0);
    say(cells.restarts, count(agent.restarts));
    say(cells.event, event === undefined ? "–" : `${age(event.timestamp, now)} · ${event.message}`);
    mark(cells.event, "title", event?.message);
  }
}

/** What there is to say of an agent that is well. */
function quietly({ pid, startedAt }, now) {
  if (pid === null) return "no process named";
  return startedAt === null ? `pid ${pid}` : `pid ${pid} · up ${age(startedAt, now).replace(" ago", "")}`;
}

/** A status: a shape, a word and a colour. */
export function showPill(node, { status, state }, rank) {
  const shape = rank === 3 ? "bad" : state === "running" ? (rank === 2 ? "warn" : "good") : "off";
  mark(node, "data-shape", shape);
  say(node, status);
}

/** A number and how it went. */
class Meter {
  constructor(what) {
    this.value = h("span", { class: "value" });
    this.spark = sparkline(`${what} of the last minutes`);
    this.node = h("div", {}, this.value, this.spark.node);
  }

  show(text, values, least) {
    say(this.value, text);
    this.spark.show(values, least);
  }
}
