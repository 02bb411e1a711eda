import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";
import { endScene, scene } from "./scene.js";
import { BUSY, Browser, Place, STEADY, row, until } from "./world.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PICTURE = new URL("../../docs/dashboard.png", import.meta.url).pathname;

let browser;
let place;
before(async () => {
  browser = await Browser.open();
  place = await scene();
});
after(async () => {
  await browser?.close();
  if (place) await endScene(place);
});

const text = (locator) => locator.innerText();
const says = (locator, what) => until(`${what}`, async () => what.test(await text(locator)));

async function closed(page) {
  assert.deepEqual(page.faults, []);
  await page.context().close();
}

/** Violations of accessibility, each with the nodes. */
async function violations(page) {
  // Evaluated by the debugger, so that the page's policy stays as it is.
  await page.evaluate(AXE);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ")}`);
}

test("who is in trouble, and why, is seen without a click", async () => {
  const page = await browser.page(place.url);
  await says(page.locator("#connection"), /^Live$/);
  for (const [id, why] of [["planner", /SIGKILL/], ["tester", /2 processes left behind/],
    ["indexer", /high_memory/], ["reviewer", /4 unresolved errors/]]) {
    await says(row(page, id), why);
    const line = row(page, id).locator(".why");
    assert.ok(await line.evaluate((node) => node.scrollWidth <= node.clientWidth), `${await text(line)} is cut off`);
  }
  await says(page.locator(".alerts"), /planner[\s\S]*agent_down[\s\S]*SIGKILL/);
  const order = await page.locator(".agents a.agent").allInnerTexts();
  assert.deepEqual(order.slice(0, 2).toSorted(), ["planner", "tester"]);
  assert.equal(order.at(-1), "coder", "who is well comes last");
  await says(page.locator(".tile").first(), /3\s+of 5 known, 2 offline/);
  await until("a number of the monitor itself", async () => /\d % CPU/.test(await text(page.locator(".tile").last())));
  await closed(page);
});

test("a row follows its process without a reload", async () => {
  const agent = place.agent("passing", STEADY);
  const page = await browser.page(place.url);
  await says(row(page, "passing"), /^online/);
  await page.evaluate(() => (window.sameDocument = true));
  agent.kill("SIGKILL");
  await agent.ended;
  await page.waitForFunction(() => [...document.querySelectorAll(".agents tbody tr")].some((node) =>
    node.textContent.includes("passing") && node.textContent.includes("offline")), undefined, { timeout: 20_000, polling: 20 });
  const next = place.agent("passing", STEADY);
  await says(row(page, "passing"), /^online/);
  assert.equal(await page.evaluate(() => window.sameDocument), true);
  place.register({ passing: null });
  next.kill("SIGKILL");
  await until("its row is gone", async () => (await row(page, "passing").count()) === 0);
  await closed(page);
});

test("a restart of the daemon loses no event and doubles none; meanwhile nothing is shown as live", async () => {
  const own = new Place();
  try {
    own.agent("worker", STEADY);
    await own.start();
    const page = await browser.page(own.url);
    await says(page.locator("#connection"), /^Live$/);
    await own.event("worker", "note", "before the restart");
    await says(page.locator(".events"), /before the restart/);
    await own.stop();
    await says(page.locator("#connection"), /^Reconnecting$|^Stale since/);
    await says(page.locator("#connection"), /^Stale since \d\d:\d\d:\d\d/);
    assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector(".tiles")).filter), "grayscale(1)");
    await own.start();
    await own.event("worker", "note", "after the restart");
    await says(page.locator("#connection"), /^Live$/);
    await says(page.locator(".events"), /after the restart/);
    const told = (await own.get("events?limit=100")).items.map(({ id }) => `event-${id}`);
    const shown = await page.locator(".events li").evaluateAll((nodes) => nodes.map(({ id }) => id));
    assert.deepEqual(shown, told);
    await closed(page);
  } finally {
    await own.end();
  }
});

test("an agent's page: ranges, marks, errors with their stack, commands", async () => {
  const page = await browser.page(`${place.url}/agents/reviewer?range=15m`);
  const pressed = () => page.locator('.ranges [aria-pressed="true"]').innerText();
  assert.equal(await pressed(), "15m");
  await until("a line", async () => (await page.locator(".plot .line").first().getAttribute("d"))?.startsWith("M"));
  assert.ok(await page.locator(".plot .mark.start").count() >= 1);
  assert.ok(await page.locator(".plot .mark.error").count() >= 2);
  assert.ok(await page.locator(".plot .gap").count() >= 1, "before the agent was there");
  await page.locator(".plot").first().focus();
  await page.keyboard.press("ArrowLeft");
  assert.match(await text(page.locator(".readout").first()), /%$|not observed/);
  assert.equal(await page.locator('.hair[visibility="visible"]').count(), 2, "on both charts");
  const group = page.locator("#errors details", { hasText: "TypeError" });
  assert.match(await text(group), /3 times/);
  await group.locator("summary").click();
  await says(group.locator("pre"), /rank\.js:41:23/);
  assert.match(await text(group), /agent-monitor resolve \d+/);
  for (const range of ["1h", "24h", "7d", "30d"]) {
    await page.locator(".ranges button", { hasText: new RegExp(`^${range}$`) }).click();
    assert.equal(new URL(page.url()).searchParams.get("range"), range);
    await until(`a line over ${range}`, async () => (await page.locator(".plot .line").count()) === 2
      && (await text(page.locator(".charts .quiet"))) === "");
  }
  await page.reload();
  assert.equal(await pressed(), "30d", "the address says it all");
  await page.goto(`${place.url}/agents/tester`);
  await says(page.locator("#leftovers"), /sleep[\s\S]*sleep/);
  await says(page.locator("#runs"), /SIGKILL/);
  await page.goto(`${place.url}/agents/nobody`);
  await says(page.locator(".one .empty").first(), /ever seen[\s\S]*agent-monitor event nobody/);
  await closed(page);
});

test("thirty days are there to be seen, and a time when the monitor was away", async () => {
  const page = await browser.page(`${place.url}/agents/indexer?range=24h`);
  const line = page.locator(".plot .line").last();
  const drawn = async () => ((await line.getAttribute("d")) ?? "").split(/[ML]/).length;
  const begins = async () => Number(/^M([\d.]+)/.exec((await line.getAttribute("d")) ?? "")?.[1] ?? Infinity);
  // The times when nobody watched, in whole pixels: of each range they are others. Under seven hours are one step of thirty
  // days, which are five pixels, or two steps, as the hours of the day fall.
  const gaps = async () => (await page.locator(".plot").last().locator(".gap").evaluateAll((nodes) =>
    nodes.map((node) => Math.round(node.getAttribute("width"))))).filter((width) => width > 3).join();
  let away;
  for (const [range, days] of [["24h", 1], ["7d", 7], ["30d", 30]]) {
    await page.locator(".ranges button", { hasText: new RegExp(`^${range}$`) }).click();
    // The page may draw what it still has of the range before: along the new axis, or once more along the old one.
    await until(`${range} from one end of its chart to the other, with its times away`, async () =>
      (await begins()) < 100 && (await drawn()) > 60 && (await gaps()) !== away && ((await gaps()) !== "") === (days >= 7));
    away = await gaps();
    const labels = await page.locator(".plot").last().locator(".label.x").allTextContents();
    assert.ok(labels.length >= 2 && (days === 1 || labels.some((label) => /[A-Z]/.test(label))), `${range}: ${labels}`);
  }
  await says(page.locator("#runs"), /SIGTERM stopped/);
  await says(page.locator(".facts"), /Restarts\s+2\d/);
  await closed(page);
});

test("an agent that has died is not said to be up", async () => {
  const page = await browser.page(`${place.url}/agents/planner`);
  await says(page.locator(".facts div", { hasText: "Up" }), /^Up\s+–$/);
  await says(page.locator(".reason"), /^ended \(SIGKILL\)/);
  await closed(page);
});

test("all of it by keyboard", async () => {
  const page = await browser.page(place.url);
  await says(row(page, "coder"), /online/);
  await page.keyboard.press("/");
  await page.keyboard.type("index");
  await until("one row", async () => (await page.locator(".agents a.agent").count()) === 1);
  await page.keyboard.press("Escape");
  await until("all rows", async () => (await page.locator(".agents a.agent").count()) >= 5);
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  const chosen = await text(page.locator(".chosen a.agent"));
  assert.equal(chosen, (await page.locator(".agents a.agent").allInnerTexts())[1]);
  await page.keyboard.press("Enter");
  await until("its page", async () => page.url().endsWith(`/agents/${chosen}`));
  await page.keyboard.press("3");
  assert.equal(new URL(page.url()).searchParams.get("range"), "24h");
  await page.keyboard.press("g");
  await until("all agents", async () => new URL(page.url()).pathname === "/");
  await page.keyboard.press("?");
  await until("the keys", () => page.locator("#keys").isVisible());
  await page.keyboard.press("Escape");
  await closed(page);
});

test("themes, widths and accessibility", async () => {
  const backs = new Set();
  for (const theme of ["light", "dark"]) {
    for (const width of [1440, 800, 360]) {
      for (const path of ["/", "/agents/reviewer", "/agents/tester"]) {
        const page = await browser.page(place.url + path, { theme, width });
        await until("content", async () => (await page.locator(path === "/" ? ".agents a.agent" : "#runs tbody tr").count()) > 0);
        assert.deepEqual(await violations(page), [], `${theme} ${width} ${path}`);
        const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(beyond <= 0, `${path} is ${beyond} px too wide at ${width}`);
        backs.add(await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor));
        await closed(page);
      }
    }
  }
  assert.equal(backs.size, 2);
  const page = await browser.page(place.url);
  await page.locator("#theme").click();
  await page.locator("#theme").click();
  await page.reload();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark", "a choice is kept");
  await closed(page);
});

test("text of agents stays text, wherever they put it", async () => {
  const corpus = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>",
    "javascript:alert(1)", "'};alert(1)//", "<a href='http://evil.example/'>x</a>", "${alert(1)}", "&lt;b&gt;",
    "\u202Eevil\u202C", "</title><script>alert(1)</script>"];
  const own = new Place();
  try {
    corpus.forEach((payload) => own.agent(payload, STEADY,
      { name: payload, status: payload, metadata: { [payload]: payload } }, own.program("<b onclick=x>")));
    await own.start();
    for (const payload of corpus) {
      await own.event(payload, payload, payload);
      await own.error(payload, payload, payload, payload);
    }
    const page = await browser.page(own.url);
    await until("all rows", async () => (await page.locator(".agents a.agent").count()) === corpus.length);
    assert.deepEqual((await page.locator(".agents a.agent").allTextContents()).toSorted(), corpus.toSorted());
    await until("events", async () => (await page.locator(".events li p").allTextContents()).includes(corpus[0]));
    for (const payload of corpus) {
      await page.goto(`${own.url}/agents/${encodeURIComponent(payload)}`);
      await until("its error", async () => (await page.locator("#errors details").count()) > 0);
      await says(page.locator("#processes"), /<b onclick=x>/);
      assert.equal(await page.locator(".heading .id").textContent(), payload);
      assert.equal(await page.locator("#errors summary .message").textContent(), payload);
    }
    assert.equal(await page.locator("main script, main img, main b, [onclick], [onerror]").count(), 0);
    await closed(page);
  } finally {
    await own.end();
  }
});

test("a thousand agents: only rows on screen, one change of the page a tick", async () => {
  const own = new Place();
  try {
    const working = own.run("python3", ["-c", BUSY]);
    const records = Array.from({ length: 1000 }, (_, index) => [`agent-${index}`, { metadata: index === 0 ? { pid: working.pid } : {} }]);
    own.register(Object.fromEntries(records));
    await own.start();
    const page = await browser.page(own.url);
    await says(page.locator(".fleet header"), /1,000/);
    assert.ok(await page.locator(".agents tbody tr").count() < 60);
    await page.locator(".fleet .scroll").evaluate((node) => (node.scrollTop = node.scrollHeight));
    await until("the last row", async () => (await page.locator('.agents tr[aria-rowindex="1001"]').count()) === 1);
    await page.evaluate(() => {
      window.long = [];
      new PerformanceObserver((list) => window.long.push(...list.getEntries().map(({ duration }) => duration)))
        .observe({ type: "longtask" });
      window.changedFrames = new Map();
      let frame = 0;
      const turn = () => { frame += 1; requestAnimationFrame(turn); };
      turn();
      new MutationObserver(() => window.changedFrames.set(frame, true)).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
    });
    const seen = (await own.get("status")).sampling.tick;
    await until("five ticks", async () => (await own.get("status")).sampling.tick >= seen + 5);
    const { changes, long } = await page.evaluate(() => ({ changes: window.changedFrames.size, long: window.long }));
    const ticks = (await own.get("status")).sampling.tick - seen;
    console.log(`# 1,000 agents: ${changes} changes of the page in ${ticks} ticks, long tasks ${JSON.stringify(long)}`);
    // One for a tick, one for each second's ages, and what the tables of the overview ask for.
    assert.ok(changes > 0 && changes <= 4 * ticks + 8, `${changes} in ${ticks}`);
    await page.locator("input[type=search]").fill("agent-999");
    await until("found", async () => (await page.locator(".agents a.agent").allInnerTexts()).join() === "agent-999");
    await closed(page);
  } finally {
    await own.end();
  }
});

test("without agents it says what to do next", async () => {
  const own = new Place();
  try {
    await own.start();
    const page = await browser.page(own.url);
    await says(page.locator(".fleet .empty"), /No agents yet[\s\S]*agent-monitor run --registry/);
    assert.deepEqual(await violations(page), []);
    await closed(page);
  } finally {
    await own.end();
  }
});

test("all of the page is small", async () => {
  const asked = [];
  const own = await browser.chromium.newPage();
  own.on("response", async (answer) => asked.push(answer));
  await own.goto(place.url);
  await own.waitForSelector(".agents a.agent");
  const files = asked.filter((answer) => !new URL(answer.url()).pathname.startsWith("/api/"));
  const bodies = await Promise.all(files.map((answer) => answer.body()));
  const size = bodies.reduce((sum, body) => sum + gzipSync(body).length, 0);
  console.log(`# the page: ${files.length} files, ${size} bytes compressed`);
  assert.ok(files.length >= 10 && size <= 80 * 1024, `${size}`);
  await own.close();
});

// Last, when there is a little of the past to see.
test("the picture for the README", async () => {
  const page = await browser.page(place.url, { width: 1280, height: 680 });
  await says(row(page, "indexer"), /high_memory/);
  await until("the past", async () => (await row(page, "coder").locator(".spark .line").first().getAttribute("d"))?.includes("L"));
  await page.screenshot({ path: PICTURE });
  await closed(page);
});
