// What the page knows, without a page.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Model, isDown } from "../../src/api/page/model.js";

test("an event that is stored after it was told is one event", () => {
  const model = new Model();
  const told = { id: null, timestamp: "2026-01-01T00:00:00.000Z", agent_id: "a", event_type: "stopped", message: "it ended" };
  const ids = () => model.events.map(({ id }) => id);
  model.addEvents([told, { ...told, message: "another" }]);
  assert.deepEqual(ids(), [null, null]);
  model.addEvents([{ ...told, id: 7 }]);
  assert.deepEqual(ids().sort(), [7, null]);
  model.addEvents([told]);
  assert.deepEqual(ids().sort(), [7, null], "nor when it is told once more");
});

test("down is who should run and does not", () => {
  const agent = { status: "offline", registryStatus: "online", state: "exited" };
  assert.ok(isDown(agent));
  for (const other of [{ registryStatus: "offline" }, { registryStatus: null }, { state: "running" }, { status: "stopped" }]) {
    assert.ok(!isDown({ ...agent, ...other }), JSON.stringify(other));
  }
});
