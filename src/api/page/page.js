// Everything shown is untrusted text: it only ever becomes textContent or an encoded path.
"use strict";

const content = document.getElementById("content");
const host = document.getElementById("host");
const [, place, segment] = location.pathname.split("/");
const source = place === "agents" ? `/api/monitoring/agents/${segment}` : "/api/monitoring/dashboard";
const EVERY_MS = 5000;

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text ?? "–";
  if (className) node.className = className;
  return node;
}

// columns: [title, cell of a row] or [title, cell, true] for numbers; a cell is text or a node.
function table(title, rows, columns) {
  const section = element("section");
  section.append(element("h2", title));
  if (rows === null) section.append(element("p", "not known right now", "quiet"));
  else if (rows.length === 0) section.append(element("p", "none", "quiet"));
  else {
    const grid = element("table");
    const head = grid.createTHead().insertRow();
    for (const [name, , number] of columns) head.append(element("th", name, number && "number"));
    const body = grid.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      for (const [, cell, number] of columns) {
        const value = cell(row);
        const node = element("td", value instanceof Node ? "" : value, number && "number");
        if (value instanceof Node) node.append(value);
        line.append(node);
      }
    }
    const box = element("div", undefined, "scroll");
    box.append(grid);
    section.append(box);
  }
  return section;
}

const time = (text) => (text === null ? null : new Date(text).toLocaleString());
const bad = (text, is) => (is ? element("span", text, "bad") : text);

function link(id) {
  const anchor = element("a", id);
  anchor.href = `/agents/${encodeURIComponent(id)}`;
  return anchor;
}

const AGENT = [
  ["Agent", (a) => link(a.agentId)],
  ["Name", (a) => a.name],
  ["Status", (a) => bad(a.status, a.status === "offline")],
  ["State", (a) => a.state],
  ["Why", (a) => a.stateReason ?? ""],
  ["PID", (a) => a.pid, true],
  ["CPU %", (a) => a.metrics.cpuPercent, true],
  ["MiB", (a) => a.metrics.memoryMb, true],
  ["Processes", (a) => a.metrics.processCount, true],
  ["Errors", (a) => bad(a.metrics.errorCount, a.metrics.errorCount > 0), true],
  ["Restarts", (a) => a.restarts, true],
];
const ALERT = [
  ["Alert", (a) => a.type], ["Severity", (a) => bad(a.severity, a.severity === "critical")],
  ["Agent", (a) => (a.agent_id === null ? null : link(a.agent_id))],
  ["Since", (a) => time(a.started_at)], ["Message", (a) => a.message],
];
const EVENT = [
  ["When", (e) => time(e.timestamp)], ["Agent", (e) => (e.agent_id === null ? null : link(e.agent_id))],
  ["Type", (e) => bad(e.event_type, e.event_type === "error")], ["Message", (e) => e.message],
];
const PROCESS = [
  ["PID", (p) => p.pid, true], ["Parent", (p) => p.ppid, true], ["Command", (p) => p.command],
  ["State", (p) => p.state], ["User", (p) => p.user], ["Started", (p) => time(p.startedAt)],
  ["CPU %", (p) => p.cpuPercent, true], ["MiB", (p) => p.memoryMb, true], ["Threads", (p) => p.threadCount, true],
];
const ERROR = [
  ["When", (e) => time(e.timestamp)], ["Type", (e) => e.error_type], ["Message", (e) => e.message],
  ["Resolved", (e) => (e.resolved ? "yes" : bad("no", true))],
];
const RUN = [
  ["PID", (r) => r.pid, true], ["Started", (r) => time(r.started_at)], ["Ended", (r) => time(r.ended_at)],
  ["How", (r) => r.exit_signal ?? r.exit_code], ["Reason", (r) => r.reason],
  ["CPU s", (r) => r.cpu_seconds, true], ["Peak MiB", (r) => r.peak_memory_mb, true],
];
const LEFTOVER = [["PID", (l) => l.pid, true], ["Command", (l) => l.command], ["MiB", (l) => l.memory_mb, true]];

function dashboard(all) {
  const s = all.systemMetrics;
  host.textContent = `load ${s.cpuUsage ?? "–"} on ${s.cpuCount ?? "–"} CPUs, `
    + `${s.freeMemory ?? "–"} of ${s.totalMemory ?? "–"} MiB available, as of ${time(all.generatedAt)}`;
  const parts = [table("Agents", all.agents, AGENT), table("Recent events", all.recentEvents, EVENT)];
  if (all.alerts.length > 0) parts.unshift(table("Alerts", all.alerts, ALERT));
  return parts;
}

function agent(one) {
  host.textContent = `as of ${time(one.latest.timestamp)}`;
  return [
    table(one.name ?? one.agentId, [{ ...one, metrics: one.latest }], AGENT),
    table("Processes", one.processes, PROCESS),
    table("Left behind", one.leftovers, LEFTOVER),
    table("Runs", one.runs, RUN),
    table("Errors", one.errors, ERROR),
    table("Events", one.events, EVENT),
  ];
}

async function refresh() {
  try {
    const answer = await fetch(source);
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.detail);
    content.replaceChildren(...(place === "agents" ? agent(body) : dashboard(body)));
  } catch (error) {
    // What was last shown stays, with the word that it is old.
    host.replaceChildren(element("span", `no answer: ${error.message}`, "bad"));
  }
  setTimeout(refresh, EVERY_MS);
}

refresh();
