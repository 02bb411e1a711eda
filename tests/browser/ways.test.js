// The ways to the page: through a tunnel from another machine, and by a link from another site.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, before, test } from "node:test";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createListener } from "node:net";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import { Browser, Place, STEADY, row, until } from "./world.js";

let browser;
let place;
before(async () => {
  browser = await Browser.open();
  place = new Place();
  place.agent("coder", STEADY);
  await place.start();
});
after(async () => {
  await browser?.close();
  await place?.end();
});

const live = (page) => until("it is live", async () => (await page.locator("#connection").innerText()) === "Live");

/** A port that was free a moment ago. */
async function freePort() {
  const listener = createListener().listen(0, "127.0.0.1");
  await new Promise((resolve) => listener.once("listening", resolve));
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

function made(command, args) {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  assert.equal(status, 0, `${command}: ${stderr}`);
}

/** A server of SSH of its own, that lets nobody in but with a key made for this test. Returns how to reach it. */
async function sshServer() {
  const path = (name) => join(place.path, name);
  for (const key of ["host-key", "key"]) made("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path(key)]);
  const port = await freePort();
  place.file("sshd_config", [`Port ${port}`, "ListenAddress 127.0.0.1", `HostKey ${path("host-key")}`,
    `AuthorizedKeysFile ${path("key.pub")}`, "PasswordAuthentication no", "UsePAM no", "StrictModes no", "PidFile none",
    "PermitRootLogin prohibit-password", ""].join("\n"));
  // Where sshd of Debian wants to confine itself to; without rights to make it, it does not.
  if (userInfo().uid === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  const server = place.run("/usr/sbin/sshd", ["-D", "-e", "-f", path("sshd_config")]);
  let log = "";
  server.stderr.on("data", (text) => (log += text));
  place.file("known_hosts", `[127.0.0.1]:${port} ${readFileSync(path("host-key.pub"), "utf8")}`);
  await until("sshd listens", () => {
    if (server.exitCode !== null) throw new Error(log);
    return log.includes("Server listening");
  });
  return ["-F", "none", "-i", path("key"), "-o", `UserKnownHostsFile=${path("known_hosts")}`, "-o", "BatchMode=yes",
    "-o", "IdentitiesOnly=yes", "-o", "ExitOnForwardFailure=yes", "-p", String(port), `${userInfo().username}@127.0.0.1`];
}

test("ssh -L brings the page of another machine, which says whose it is", async () => {
  const near = await freePort();
  const reach = await sshServer();
  const tunnel = place.run("ssh", ["-N", "-L", `${near}:localhost:${place.port}`, ...reach]);
  let log = "";
  tunnel.stderr.on("data", (text) => (log += text));
  await until("the tunnel", async () => {
    if (tunnel.exitCode !== null) throw new Error(log);
    return (await fetch(`http://localhost:${near}/healthz`)).ok;
  });
  const page = await browser.page(`http://localhost:${near}/`);
  await live(page);
  await until("its row", async () => /^online/.test(await row(page, "coder").innerText()));
  assert.equal(await page.locator("#host").innerText(), hostname());
  assert.match(await page.title(), new RegExp(`${hostname()} · agent-monitor$`));
  await place.event("coder", "note", "through the tunnel");
  await until("an event", async () => /through the tunnel/.test(await page.locator(".events").innerText()));
  tunnel.kill("SIGTERM");
  await tunnel.ended;
  await until("it is known that nothing is heard", async () =>
    /^Reconnecting$|^Stale/.test(await page.locator("#connection").innerText()));
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a link from another site opens an agent's page; nothing else of that site comes in", async () => {
  const there = createServer((_, answer) => {
    answer.setHeader("content-type", "text/html");
    answer.end(`<!doctype html><title>chat</title><a href="${place.url}/agents/coder">coder is down</a>`);
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => there.once("listening", resolve));
  try {
    // Another site: a site is a scheme and a name, whatever the port, and localhost is another one than 127.0.0.1.
    const elsewhere = `http://localhost:${there.address().port}/`;
    const page = await browser.page(elsewhere);
    const asked = await page.evaluate(async (url) => {
      const answer = await fetch(`${url}/api/monitoring/dashboard`).then(({ status }) => status, (error) => error.name);
      const blind = await fetch(`${url}/api/monitoring/dashboard`, { mode: "no-cors" }).then(({ type }) => type, (error) => error.name);
      const framed = document.createElement("iframe");
      framed.src = `${url}/`;
      document.body.append(framed);
      await new Promise((resolve) => framed.addEventListener("load", resolve, { once: true }));
      const socket = new WebSocket(`${url.replace("http", "ws")}/api/monitoring/ws`);
      const opened = await new Promise((resolve) => {
        socket.addEventListener("open", () => resolve(true));
        socket.addEventListener("error", () => resolve(false));
      });
      return { answer, blind, opened, inside: framed.contentDocument === null ? "kept out" : "seen" };
    }, place.url);
    assert.deepEqual(asked, { answer: "TypeError", blind: "TypeError", opened: false, inside: "kept out" });
    const [navigation] = await Promise.all([page.waitForRequest((request) => request.isNavigationRequest()
      && request.url().endsWith("/agents/coder")), page.locator("a").click()]);
    assert.equal((await navigation.allHeaders())["sec-fetch-site"], "cross-site", "a stranger's link, as a browser sees it");
    await page.waitForURL(`${place.url}/agents/coder`);
    await live(page);
    await until("its process", async () => /python3/.test(await page.locator("#processes").innerText()));
    await page.context().close();
  } finally {
    there.closeAllConnections();
    there.close();
  }
});
