// The page's connection to the daemon, without either of them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../../src/api/page/stream.js";

test("a page that is put away opens no connection any more", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const opened = [];
  globalThis.EventSource = class {
    static CLOSED = 2;
    readyState = 2;
    constructor() {
      opened.push(this);
    }
    addEventListener(kind, listener) {
      this[kind] = listener;
    }
    close() {}
  };
  const refused = async () => {
    opened.at(-1).error();
    await new Promise(setImmediate);
  };
  const refresh = () => Promise.reject(new Error("nobody there"));
  const connection = new Connection({ refresh, onMessage() {}, onState() {}, intervalMs: () => 1_000 });
  connection.open();
  await refused();
  t.mock.timers.tick(60_000);
  assert.equal(opened.length, 2, "it comes back by itself");
  await refused();
  connection.close();
  t.mock.timers.tick(60_000);
  assert.equal(opened.length, 2, "but not when it was closed meanwhile");
});
