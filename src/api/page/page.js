// The page: which view is shown, the connection to the daemon, and how sure one can be of what is shown.

import { AgentView } from "./agent.js";
import { mark, refreshAges, say, span } from "./dom.js";
import { Model } from "./model.js";
import { Overview } from "./overview.js";
import { Connection, ask } from "./stream.js";

const STATUS_MS = 10_000;
const REFRESH_MS = 15_000;
const node = (id) => document.getElementById(id);

const model = new Model();
let connected = "connecting";
let heardAt = null;
let view = null;

function show() {
  const [, place, segment] = location.pathname.split("/");
  view?.close();
  view = place === "agents" && segment ? new AgentView(model, decodeURIComponent(segment)) : new Overview(model);
  node("content").replaceChildren(view.node);
  draw();
}

let drawing = false;
/** One change of the page for all that came in since the last one. */
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    view.render();
    const firing = model.alerts.length > 0 ? `(${model.alerts.length}) ` : "";
    document.title = firing + [view.title, model.status?.hostname, "agent-monitor"].filter(Boolean).join(" · ");
    sayConnection();
    refreshAges(node("content"), Date.now());
  });
}

/** Two intervals without a word, and what is shown is old. */
function isStale() {
  return heardAt === null || performance.now() - heardAt > Math.max(3_000, 2 * model.intervalMs + 1_000);
}

function sayConnection() {
  const stale = !model.isEmpty && isStale();
  const last = model.at === null ? "" : new Date(model.at).toLocaleTimeString();
  const state = stale ? "stale" : connected;
  mark(document.documentElement, "data-connection", state);
  mark(node("connection"), "data-state", state);
  const words = { live: "Live", reconnecting: "Reconnecting", connecting: "Connecting", stale: `Stale since ${last}` };
  say(node("connection").firstElementChild, words[state]);
  node("connection").title = last === "" ? "" : `data of ${last}`;
  const critical = model.alerts.some(({ severity }) => severity === "critical");
  mark(node("icon"), "href", `/page/icon${stale ? "-stale" : critical ? "-bad" : ""}.svg`);
}

let refreshing = null;
let again = false;
/** Fetches the document; who asks meanwhile gets one more that began after the question. */
function refresh() {
  if (refreshing !== null) {
    again = true;
    return refreshing;
  }
  refreshing = ask("/api/monitoring/dashboard").then((document) => {
    if (model.snapshot(document)) heardAt = performance.now();
    draw();
  }).finally(() => {
    refreshing = null;
    if (again) {
      again = false;
      refresh().catch(() => {});
    }
  });
  return refreshing;
}

const quietly = () => refresh().catch(() => {});

/** Something happened to an agent, or to the daemon itself. */
function changed({ agent_id: id }) {
  quietly();
  if (id === view.id) view.reload?.();
}

const messages = {
  hello({ interval }) {
    model.intervalMs = interval * 1000;
    quietly();
    askEvents();
    askStatus();
    view.reload?.();
  },
  metrics_update(update) {
    heardAt = performance.now();
    if (!model.isEmpty && !model.tick(update)) quietly();
  },
  event(event) {
    model.addEvents([event]);
    changed(event);
  },
  agent_error: changed,
  alert: quietly,
  gap: () => askEvents(),
};

async function askEvents() {
  const events = await ask("/api/monitoring/events?limit=100").catch(() => null);
  if (events === null) return;
  model.addEvents(events.items);
  draw();
}

async function askStatus() {
  const status = await ask("/api/monitoring/status").catch(() => null);
  if (status === null) return;
  const before = model.status;
  const seconds = before?.startedAt === status.startedAt
    ? (Date.parse(status.generatedAt) - Date.parse(before.generatedAt)) / 1000 : 0;
  // Over too short a time the difference is noise.
  status.ownCpu = seconds > 5 ? ((status.cpuSeconds - before.cpuSeconds) / seconds) * 100 : before?.ownCpu ?? null;
  if (before === null || seconds > 5 || before.startedAt !== status.startedAt) model.status = status;
  model.intervalMs = status.sampling.interval * 1000;
  say(node("host"), status.hostname);
  say(node("about"), `${status.version} · up ${span(status.uptime)}`);
  mark(node("about"), "title", `agent-monitor ${status.version} at ${location.host}`);
  draw();
}

const connection = new Connection({
  onMessage(kind, data) {
    messages[kind](data);
    draw();
  },
  refresh,
  onState(state) {
    connected = state;
    draw();
  },
  intervalMs: () => model.intervalMs,
});

const THEMES = ["system", "light", "dark"];
function setTheme(theme) {
  mark(document.documentElement, "data-theme", theme === "system" ? null : theme);
  say(node("theme"), `Theme: ${theme}`);
}

function nextTheme() {
  const now = document.documentElement.dataset.theme ?? "system";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  try {
    localStorage.setItem("theme", next);
  } catch {
    // A browser that keeps nothing shows it until the page is left.
  }
  setTheme(next);
}

function go(href) {
  history.pushState(null, "", href);
  show();
  scrollTo(0, 0);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']");
  if (link === null || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || node("keys").open) return;
  const typing = event.target.matches("input");
  if (typing && event.key !== "Escape") {
    if (event.key === "ArrowDown" || event.key === "Enter") view.key("ArrowDown") && event.preventDefault();
    return;
  }
  if (event.target.matches(".plot") && event.key.startsWith("Arrow")) return;
  if (event.key === "t") nextTheme();
  else if (event.key === "?") node("keys").showModal();
  else if (event.key === "g") go("/");
  else if (!view.key(event.key)) return;
  if (typing) event.target.blur();
  event.preventDefault();
});

node("theme").addEventListener("click", nextTheme);
node("help").addEventListener("click", () => node("keys").showModal());
addEventListener("popstate", show);
addEventListener("pagehide", () => connection.close());
addEventListener("pageshow", ({ persisted }) => persisted && connection.open());

let stored = null;
try {
  stored = localStorage.getItem("theme");
} catch {
  // As the system then.
}
setTheme(THEMES.includes(stored) ? stored : "system");
show();
quietly();
askEvents();
askStatus();
connection.open();
// What no message tells: leftovers, processes, the monitor itself, and that time passes.
setInterval(() => !document.hidden && askStatus(), STATUS_MS);
setInterval(() => {
  if (document.hidden) return;
  quietly();
  view.reload?.();
}, REFRESH_MS);
setInterval(draw, 1_000);
