// A daemon as a child, agents that are real processes, and a real browser.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const PROGRAM = process.env.AGENT_MONITOR ?? new URL("../../target/debug/agent-monitor", import.meta.url).pathname;
const PAST = process.env.AGENT_MONITOR_PAST ?? new URL("../../target/debug/examples/past", import.meta.url).pathname;
const BROWSER = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** Longer than anything takes on a busy machine. */
export const PATIENCE_MS = 60_000;

const CONFIG = `
[registry]
refresh = "1s"
[alerts]
interval = "1s"
[[alerts.rule]]
name = "agent_down"
for = "1s"
[[alerts.rule]]
name = "leftovers"
for = "1s"
[[alerts.rule]]
name = "high_memory"
above = 150
clear = 140
for = "1s"
`;

/** Asks until there is an answer that is true. */
export async function until(what, question) {
  const end = Date.now() + PATIENCE_MS;
  let answer;
  while (Date.now() < end) {
    try {
      answer = await question();
      if (answer) return answer;
    } catch (error) {
      answer = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`waited in vain: ${what}; instead: ${answer}`);
}

/** Where one daemon, or several in turn, keep their files, and what runs there. */
export class Place {
  #children = new Set();
  #records = new Map();

  constructor() {
    this.path = mkdtempSync(join(tmpdir(), "agent-monitor-page-"));
    this.file("config.toml", CONFIG);
    this.register();
    this.port = 0;
  }

  file(name, text) {
    const path = join(this.path, name);
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
    return path;
  }

  /** Puts these records into the registry beside those that are there; `null` takes one out. */
  register(records = {}) {
    for (const [id, record] of Object.entries(records)) {
      if (record === null) this.#records.delete(id);
      else this.#records.set(id, { agentId: id, status: "online", ...record });
    }
    this.file("agents.json", JSON.stringify([...this.#records.values()]));
  }

  run(command, args, options = {}) {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    this.#children.add(child);
    child.ended = new Promise((resolve) => child.once("exit", (code, signal) => {
      this.#children.delete(child);
      resolve({ code, signal });
    }));
    return child;
  }

  /** A real process as an agent: what the registry says of it, and what it runs. */
  agent(id, script, record = {}, program = "python3") {
    const child = this.run(program, ["-c", script]);
    this.register({ [id]: { ...record, metadata: { pid: child.pid, ...record.metadata } } });
    return child;
  }

  /** Python by another name. */
  program(name) {
    const path = join(this.path, name);
    if (!existsSync(path)) symlinkSync("/usr/bin/python3", path);
    return path;
  }

  /** Thirty days of history of the agents of `scene.js`, before the first daemon starts here. */
  past() {
    const { status, stderr } = spawnSync(PAST, [join(this.path, "state"), join(this.path, "agents.json")]);
    if (status !== 0) throw new Error(`no past: ${stderr}`);
  }

  /** Starts a daemon; the next one listens where the first did. */
  async start(interval = "1s") {
    this.daemon = this.run(PROGRAM, ["run", "--config", join(this.path, "config.toml"), "--interval", interval,
      "--listen", `127.0.0.1:${this.port}`, "--state-dir", join(this.path, "state"), "--socket", this.socket,
      "--registry", join(this.path, "agents.json")], { env: { ...process.env, XDG_RUNTIME_DIR: this.path } });
    let log = "";
    for (const stream of [this.daemon.stdout, this.daemon.stderr]) stream.on("data", (text) => (log += text));
    const address = await until("the daemon's address", () => {
      if (this.daemon.exitCode !== null) throw new Error(log);
      return /http:\/\/127\.0\.0\.1:(\d+)/.exec(log);
    });
    this.port = Number(address[1]);
    this.url = `http://127.0.0.1:${this.port}`;
    await until("the first tick", async () => (await this.get("dashboard")).agents.length === this.#records.size);
  }

  async stop() {
    this.daemon.kill("SIGTERM");
    return this.daemon.ended;
  }

  get socket() {
    return join(this.path, "s");
  }

  async get(route) {
    const answer = await fetch(`${this.url}/api/monitoring/${route}`);
    if (!answer.ok) throw new Error(`${route}: ${answer.status}`);
    return answer.json();
  }

  /** Tells the daemon something over its socket, as an agent does. */
  tell(id, kind, body) {
    const path = `/api/monitoring/agents/${encodeURIComponent(id)}/${kind}`;
    return new Promise((resolve, reject) => {
      const call = request({ socketPath: this.socket, path, method: "POST",
        headers: { host: "localhost", "content-type": "application/json" } }, (answer) => {
        let text = "";
        answer.on("data", (part) => (text += part));
        answer.on("end", () => (answer.statusCode === 201 ? resolve(JSON.parse(text)) : reject(new Error(`${answer.statusCode} ${text}`))));
      });
      call.on("error", reject);
      call.end(JSON.stringify(body));
    });
  }

  event(id, eventType, message) {
    return this.tell(id, "events", { eventType, message });
  }

  error(id, name, message, stack) {
    return this.tell(id, "errors", { error: { name, message, stack } });
  }

  async end() {
    for (const child of [...this.#children]) {
      child.kill("SIGKILL");
      await child.ended;
    }
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** A browser that tells of everything a page must not do. */
export class Browser {
  static async open() {
    const browser = new Browser();
    browser.chromium = await chromium.launch({ executablePath: BROWSER, args: ["--no-sandbox", "--disable-gpu",
      "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
    return browser;
  }

  /** A page of its own; `faults` fills with errors, CSP reports and requests that go elsewhere. */
  async page(url, { width = 1440, height = 900, theme = "light" } = {}) {
    const context = await this.chromium.newContext({ viewport: { width, height }, colorScheme: theme, locale: "en-GB" });
    const page = await context.newPage();
    page.faults = [];
    const { origin } = new URL(url);
    page.on("pageerror", (error) => page.faults.push(`error: ${error.message}`));
    page.on("dialog", (dialog) => {
      page.faults.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("request", (asked) => new URL(asked.url()).origin !== origin && page.faults.push(`asked ${asked.url()}`));
    page.on("console", (message) => {
      if (/Content Security Policy|Trusted/i.test(message.text())) page.faults.push(message.text());
    });
    await page.addInitScript(() => addEventListener("securitypolicyviolation", (event) =>
      console.error(`Content Security Policy: ${event.violatedDirective} ${event.blockedURI}`)));
    await page.goto(url);
    return page;
  }

  async close() {
    await this.chromium.close();
  }
}

/** What a row of the agents' table says. */
export const row = (page, id) => page.locator(".agents tbody tr", { has: page.locator("a.agent", { hasText: new RegExp(`^${id}$`) }) });

/** Sleeps until it is killed. */
export const STEADY = "import time\nwhile True: time.sleep(60)";
/** The same, and holds so many MiB. */
export const holding = (mib, script) => `held = bytearray(b"x" * ${mib} * 1048576)\n${script}`;
/** Works, with its memory growing by so many MiB each second up to 400. */
export const LEAKING = `
import time
kept = []
while True:
    if len(kept) < 80: kept.append(bytearray(b"x" * 5_000_000))
    time.sleep(0.25)
`;
export const BUSY = `
import time
while True:
    end = time.monotonic() + 0.06
    while time.monotonic() < end: pass
    time.sleep(0.14)
`;
/** Starts a child in a session of its own and lives on; killed, it leaves it behind. */
export const PARENT = `
import subprocess, time
for _ in range(2): subprocess.Popen(["sleep", "100000"], start_new_session=True)
while True: time.sleep(60)
`;

/** Ends what an agent of `PARENT` left behind. */
export function endLeftovers(processes) {
  for (const { pid } of processes) spawnSync("kill", ["-9", String(pid)]);
}
