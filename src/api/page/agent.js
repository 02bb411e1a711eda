// One agent: how it went over a range of time, and everything that is known of it now.

import { ago, count, h, memory, percent, say, span, worked } from "./dom.js";
import { Chart, bucketed } from "./chart.js";
import { trouble } from "./model.js";
import { alertLine, renderEvents } from "./overview.js";
import { ask } from "./stream.js";
import { showPill } from "./table.js";

// [key, seconds]
const RANGES = [["15m", 900], ["1h", 3600], ["24h", 86_400], ["7d", 604_800], ["30d", 2_592_000]];
const POINTS = 300;

export class AgentView {
  #document = null;
  #histories = new Map();
  #loading = false;
  #again = false;
  #marks = { alerts: [], errors: [] };
  #stopped = new AbortController();

  constructor(model, id) {
    Object.assign(this, { model, id, title: id });
    const given = new URLSearchParams(location.search).get("range");
    this.range = RANGES.find(([key]) => key === given) ?? RANGES[1];
    const point = (ms) => this.charts.forEach((chart) => chart.mark(ms));
    const pick = (target) => document.getElementById(target)?.scrollIntoView({ block: "center" });
    this.charts = [
      new Chart({ title: "CPU", unit: percent, least: 10, point, pick }),
      new Chart({ title: "Memory", unit: memory, least: 16, point, pick }),
    ];
    this.pill = h("span", { class: "pill" });
    this.why = h("p", { class: "reason", role: "status" });
    this.facts = h("dl", { class: "facts" });
    this.alerts = h("section", { class: "alerts", "aria-label": "Firing alerts of this agent", hidden: true });
    this.buttons = RANGES.map(([key]) =>
      h("button", { type: "button", "aria-pressed": "false", onclick: () => this.choose(key) }, key));
    this.note = h("p", { class: "quiet", role: "status" });
    this.panels = Object.fromEntries([["processes", "Processes now"], ["leftovers", "Left behind"],
      ["errors", "Errors"], ["runs", "Runs"], ["events", "Events"], ["metadata", "From the registry"],
      ["commands", "To copy"]].map(([key, title]) => [key, panel(key, title)]));
    this.body = h("div", { class: "agent-body" },
      this.alerts, this.facts,
      h("section", { class: "panel charts", "aria-label": "History" },
        h("header", {}, h("h2", {}, "History"), h("div", { class: "ranges", role: "group", "aria-label": "Time range" },
          ...this.buttons), this.note),
        ...this.charts.map(({ node }) => node), legend()),
      ...[["processes", "errors", "events"], ["leftovers", "runs", "metadata", "commands"]].map((column) =>
        h("div", { class: "column" }, ...column.map((key) => this.panels[key].node))));
    this.missing = h("div", { class: "panel empty", hidden: true });
    this.node = h("div", { class: "one" },
      h("nav", {}, h("a", { href: "/" }, "← All agents")),
      h("div", { class: "heading" }, h("h2", { class: "id" }, id), this.pill, this.why), this.missing, this.body);
    this.#showRange();
    renderCommands(this.panels.commands.content, id);
    this.reload();
  }

  close() {
    this.#stopped.abort();
    this.charts.forEach((chart) => chart.close());
  }

  key(key) {
    const range = RANGES[Number(key) - 1];
    if (range === undefined) return false;
    this.choose(range[0]);
    return true;
  }

  choose(key) {
    this.range = RANGES.find(([other]) => other === key);
    const url = new URL(location.href);
    url.searchParams.set("range", key);
    history.replaceState(null, "", url);
    this.#showRange();
    this.reload();
  }

  /** Asks for everything again, once for all who want that meanwhile. */
  reload() {
    if (this.#loading) {
      this.#again = true;
      return;
    }
    this.#loading = true;
    this.#load().finally(() => {
      this.#loading = false;
      if (!this.#again) return;
      this.#again = false;
      this.reload();
    });
  }

  async #load() {
    const [path, agent] = [`/api/monitoring/agents/${encodeURIComponent(this.id)}`, encodeURIComponent(this.id)];
    const list = (name, more = "") =>
      ask(`/api/monitoring/${name}?agent=${agent}&limit=200${more}`, this.#stopped.signal).then(({ items }) => items, () => []);
    const [key, seconds] = this.range;
    try {
      const [one, alerts, errors, groups, past] = await Promise.all([
        ask(path, this.#stopped.signal), list("alerts"), list("errors"), list("error-groups"),
        seconds <= 3600 ? null
          : ask(`${path}/history?from=-${seconds}s&to=now&step=auto`, this.#stopped.signal).catch((error) => error)]);
      if (key !== this.range[0]) return;
      this.#document = one;
      this.#marks = { alerts, errors };
      this.#histories.set(key, past);
      this.groups = groups;
      this.missing.hidden = true;
      this.body.hidden = false;
      this.#renderDocument();
    } catch (error) {
      if (error.name === "AbortError" || this.#document !== null) return;
      this.body.hidden = true;
      this.missing.hidden = false;
      const words = error.status === 404
        ? "No agent of this id was ever seen here. It appears with the registry's next reading, or with its first event:"
        : `It cannot be looked up right now: ${error.message}`;
      this.missing.replaceChildren(h("p", {}, words), h("pre", { tabindex: "0" }, command(["event", this.id, "hello", "first words"])));
    }
  }

  /** What of this agent the stream tells; everything else waits for `reload`. */
  render() {
    const agent = this.model.agents.get(this.id);
    if (agent === undefined) return;
    this.#renderHead(agent, agent.metrics, agent.leftovers);
  }

  #showRange() {
    this.buttons.forEach((button, index) =>
      button.setAttribute("aria-pressed", String(RANGES[index] === this.range)));
  }

  #renderHead(agent, metrics, leftovers) {
    const firing = this.model.alerts.filter((alert) => alert.agent_id === this.id);
    const { rank, why } = trouble({ ...agent, metrics, leftovers }, []);
    showPill(this.pill, agent, Math.max(rank, ...firing.map(({ severity }) => (severity === "critical" ? 3 : 2))));
    say(this.why, why.join(" · "));
    const key = JSON.stringify(firing);
    if (key !== this.shownAlerts) {
      this.shownAlerts = key;
      this.alerts.hidden = firing.length === 0;
      this.alerts.replaceChildren(...firing.map(alertLine));
    }
    const runs = agent.state === "running" && agent.startedAt !== null;
    const up = runs ? span((Date.now() - Date.parse(agent.startedAt)) / 1000) : "–";
    const facts = [["CPU", percent(metrics.cpuPercent)], ["Memory", memory(metrics.memoryMb)],
      ["Processes", count(metrics.processCount)], ["Threads", count(metrics.threadCount)],
      ["CPU time", worked(metrics.cpuSeconds)],
      ["PID", agent.pid === null ? "–" : String(agent.pid)], ["Up", up], ["Restarts", count(agent.restarts)],
      ["Messages", count(metrics.messageCount)], ["Registry says", agent.registryStatus ?? "–"],
      ["Observed", agent.state], ["Source", agent.source]];
    if (this.facts.children.length === 0) {
      this.facts.append(...facts.map(([name]) => h("div", {}, h("dt", {}, name), h("dd", {}))));
    }
    facts.forEach(([, value], index) => say(this.facts.children[index].lastChild, value));
  }

  #renderDocument() {
    const one = this.#document;
    this.#renderHead(one, one.latest, one.leftoverTotals);
    this.#renderCharts();
    const { processes, leftovers, errors, runs, events, metadata } = this.panels;
    rows(processes, one.processes, "No process right now.", ["Process", "PID", "CPU", "Memory", "Threads", "User"],
      (list) => tree(list).map(([process, depth]) => [
        h("span", { class: "tree", "data-depth": Math.min(depth, 8) }, process.command),
        process.pid, percent(process.cpuPercent), memory(process.memoryMb), process.threadCount, process.user ?? "–"]));
    rows(leftovers, one.leftovers, "Nothing outlived this agent.", ["Process", "PID", "Since", "Memory", "CPU time"],
      (list) => list.map((left) => [left.command, left.pid, ago(left.since), memory(left.memory_mb),
        worked(left.cpu_seconds)]));
    rows(runs, one.runs, "No run was observed yet.", ["Began", "PID", "End", "CPU time", "Peak memory"],
      (list) => list.map((run) => [ago(run.started_at), run.pid, howItEnded(run), worked(run.cpu_seconds),
        memory(run.peak_memory_mb)]));
    renderErrors(errors.content, this.groups, one.errors);
    if (one.events === null) events.content.replaceChildren(unknown());
    else {
      const list = events.content.querySelector("ol") ?? h("ol", { class: "events" });
      events.content.replaceChildren(list);
      renderEvents(list, one.events, false);
    }
    metadata.content.replaceChildren(h("pre", { tabindex: "0", "aria-label": "Metadata" }, JSON.stringify(one.metadata, null, 2)));
  }

  #renderCharts() {
    const one = this.#document;
    const [key, seconds] = this.range;
    const past = this.#histories.get(key);
    const marks = marksOf(one, this.#marks);
    const failed = past instanceof Error;
    say(this.note, failed ? `The history cannot be read: ${past.message}` : one.metrics === null ? "The database cannot be read right now." : "");
    const to = Date.parse(this.model.at ?? one.latest.timestamp) + 1;
    const frame = { from: to - seconds * 1000, to, step: Math.max(seconds / POINTS, Math.ceil(this.model.intervalMs / 1000)) };
    const drawn = past !== null && !failed
      ? [past.cpuPercent, past.memoryMb].map((values) =>
        ({ from: Date.parse(past.from), to: Date.parse(past.to), step: past.step, t: past.t, ...values }))
      : [(sample) => sample.cpu_percent, (sample) => sample.memory_mb].map((value) =>
        bucketed(failed ? [] : one.metrics ?? [], frame, value));
    this.charts.forEach((chart, index) => chart.show(drawn[index], marks));
  }
}

function legend() {
  const entry = (kind, text) => h("span", { class: `key ${kind}` }, text);
  return h("p", { class: "legend" }, entry("line", "average"), entry("band", "up to the maximum"),
    entry("gap", "not observed"), entry("start", "start"), entry("end", "end"), entry("error", "error"), entry("alert", "alert"));
}

/** Moments worth a mark on a chart. */
function marksOf({ events }, { alerts, errors }) {
  const kinds = { started: "start", restarted: "start", stopped: "end", error: "end" };
  return [
    ...(events ?? []).filter((event) => event.event_type in kinds).map((event) => ({ ms: Date.parse(event.timestamp),
      kind: kinds[event.event_type], text: event.message, target: `event-${event.id}` })),
    ...errors.map((error) => ({ ms: Date.parse(error.timestamp), kind: "error",
      text: `${error.error_type}: ${error.message}`, target: "errors" })),
    ...alerts.map((alert) => ({ ms: Date.parse(alert.started_at), kind: "alert",
      text: `${alert.type}: ${alert.message}`, target: "events" })),
  ];
}

function panel(key, title) {
  const content = h("div", { class: "content" });
  return { content, node: h("section", { class: `panel ${key}`, id: key, "aria-label": title },
    h("header", {}, h("h2", {}, title)), content) };
}

const unknown = () => h("p", { class: "empty" }, "Not known right now.");

function rows({ content }, list, none, titles, cells) {
  if (list === null) return content.replaceChildren(unknown());
  if (list.length === 0) return content.replaceChildren(h("p", { class: "empty" }, none));
  const cell = (value, index) => h(index === 0 ? "th" : "td", index === 0 ? { scope: "row" } : {}, value instanceof Node ? value : String(value));
  content.replaceChildren(h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" }, h("table", {},
    h("thead", {}, h("tr", {}, ...titles.map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, ...cells(list).map((row) => h("tr", {}, ...row.map(cell)))))));
}

/** Processes with their depth, each below its parent. */
export function tree(processes) {
  const known = new Set(processes.map(({ pid }) => pid));
  const children = Map.groupBy(processes, ({ ppid }) => (known.has(ppid) ? ppid : null));
  const found = [];
  const walk = (parent, depth) => (children.get(parent) ?? []).forEach((process) => {
    found.push([process, depth]);
    walk(process.pid, depth + 1);
  });
  walk(null, 0);
  return found;
}

function howItEnded(run) {
  if (run.ended_at === null) return h("span", { class: "pill", "data-shape": "good" }, "running");
  const how = run.oom_killed ? "out of memory" : run.exit_signal ?? (run.exit_code === null ? null : `exit ${run.exit_code}`);
  const bad = run.oom_killed || run.reason === "error";
  const word = how === null || run.reason === null ? "" : ` ${run.reason},`;
  return h("span", {}, h("span", { class: "pill", "data-shape": bad ? "bad" : "off" }, how ?? run.reason ?? "unknown"),
    `${word} `, ago(run.ended_at));
}

/** Problems, each with one occurrence and its stack; single occurrences where none were told apart. */
function renderErrors(content, groups, errors) {
  if (errors === null) return content.replaceChildren(unknown());
  const open = new Set([...content.querySelectorAll("details[open]")].map((node) => node.dataset.key));
  const sample = new Map(errors.toReversed().map((error) => [error.fingerprint, error]));
  const entries = groups.length > 0
    ? groups.map((group) => ({ key: group.fingerprint, ...group, sample: sample.get(group.fingerprint) }))
    : errors.map((error) => ({ key: String(error.id), ...error, state: error.resolved ? "resolved" : "open", count: 1,
      last_seen: error.timestamp, sample: error }));
  if (entries.length === 0) return content.replaceChildren(h("p", { class: "empty" }, "Nothing was reported."));
  content.replaceChildren(...entries.map((entry) => h("details", { "data-key": entry.key, open: open.has(entry.key) },
    h("summary", {}, h("span", { class: "pill", "data-shape": entry.state === "resolved" ? "off" : "bad" }, entry.state),
      h("strong", {}, entry.error_type), h("span", { class: "message" }, entry.message),
      h("span", { class: "when" }, entry.count > 1 ? `${count(entry.count)} times, ` : "", ago(entry.last_seen))),
    h("pre", { tabindex: "0", "aria-label": "Stack" }, entry.sample?.stack_trace ?? "No stack was reported."),
    entry.sample !== undefined && entry.state !== "resolved" && copyLine(command(["resolve", String(entry.sample.id)])))));
}

/** A line for a shell, with every word as safe as it must be. */
function command(words) {
  const safe = (word) => (/^[\w.@:/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
  return ["agent-monitor", ...words.map(safe)].join(" ");
}

function renderCommands(content, id) {
  const url = `${location.origin}/api/monitoring/agents/${encodeURIComponent(id)}`;
  content.replaceChildren(copyLine(command(["agent", id])), copyLine(command(["events", "--agent", id])),
    copyLine(`curl -s '${url.replaceAll("'", "%27")}'`));
}

function copyLine(text) {
  const button = h("button", { type: "button", onclick: async () => {
    await navigator.clipboard.writeText(text).then(() => say(button, "Copied"), () => say(button, "Select it"));
  } }, "Copy");
  return h("div", { class: "copy" }, h("code", {}, text), button);
}
