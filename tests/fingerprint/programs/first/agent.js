const fs = require('fs');
const net = require('net');
const assert = require('assert');
const { ID, PORT, NAME, N, DIR } = process.env;

class Session {
  constructor(id) { this.id = id; }
  title() { return this.meta.title.trim(); }
}
function loadConfig(dir) { return fs.readFileSync(`${dir}/config/${NAME}.json`, 'utf8'); }
function parseReply(body) { return JSON.parse(body); }
function findAgent(id) { throw new Error(`agent ${id} not found after ${N} attempts`); }
function connect(port) {
  return new Promise((resolve, reject) => net.connect(port, '127.0.0.1').on('error', reject).on('connect', resolve));
}
async function timed(ms) {
  await new Promise((resolve) => setTimeout(resolve, 1));
  throw new Error(`request ${ID} timed out after ${ms}ms`);
}
function budget(plan) { assert.strictEqual(plan.used, plan.limit); }
function guardTool(tool) {
  if (tool.args === undefined) throw new TypeError(`tool call ${ID} has no arguments`);
  if (tool.name === '') throw new TypeError(`tool call ${ID} has an empty name`);
}
const bugs = {
  undefinedTitle: () => new Session(ID).title(),
  missingConfig: () => loadConfig(DIR),
  badJson: () => parseReply(`{"id": "${ID}", "n": ${N},, }`),
  agentNotFound: () => findAgent(ID),
  refused: () => connect(Number(PORT)),
  timeout: () => timed(Number(N) * 10),
  budget: () => budget({ used: Number(N), limit: Number(N) + 7 }),
  noArguments: () => guardTool({ name: 'x' }),
  emptyName: () => guardTool({ name: '', args: {} }),
};
(async () => {
  try { await bugs[process.argv[2]](); } catch (error) {
    const { name, message, stack } = error;
    console.log(JSON.stringify({ name, message, stack }));
  }
})();
