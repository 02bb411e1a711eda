// A host with five agents: one works, one leaks, one reports errors, one has died, one left processes behind. The monitor
// has known them for thirty days.

import { BUSY, LEAKING, PARENT, Place, STEADY, endLeftovers, holding, until } from "./world.js";

const STACK = `TypeError: Cannot read properties of undefined (reading 'score')
    at rank (/srv/reviewer/src/rank.js:41:23)
    at review (/srv/reviewer/src/index.js:112:18)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)`;

/** The place, with its daemon running and everything having happened. */
export async function scene() {
  const place = new Place();
  place.past();
  place.agent("coder", holding(30, BUSY), { name: "Coder", messageCount: 218 });
  place.agent("indexer", LEAKING, { name: "Repository indexer", messageCount: 12 });
  place.agent("reviewer", holding(12, STEADY), { name: "Reviewer", messageCount: 64 });
  const planner = place.agent("planner", STEADY, { name: "Planner", messageCount: 31 });
  const tester = place.agent("tester", PARENT, { name: "Tester", messageCount: 7 });
  await place.start();
  await until("all run", async () => (await place.get("dashboard")).agents.every(({ state, metrics }) =>
    state === "running" && metrics.cpuPercent !== null));
  await until("the tester's tree", async () => (await place.get("agents/tester")).processes.length === 3);
  const { processes } = await place.get("agents/tester");
  planner.kill("SIGKILL");
  tester.kill("SIGKILL");
  place.left = processes.filter(({ command }) => command === "sleep");
  await place.event("coder", "task", "Merged the parser rewrite, 14 files");
  for (let time = 0; time < 3; time += 1) {
    await place.error("reviewer", "TypeError", "Cannot read properties of undefined (reading 'score')", STACK);
  }
  await place.error("reviewer", "TimeoutError", "No answer from the model within 120 s");
  await until("alerts", async () => {
    const fired = (await place.get("dashboard")).alerts.map(({ agent_id, type }) => `${agent_id} ${type}`);
    return ["planner agent_down", "tester leftovers", "indexer high_memory"].every((one) => fired.includes(one));
  });
  return place;
}

export async function endScene(place) {
  endLeftovers(place.left ?? []);
  await place.end();
}
