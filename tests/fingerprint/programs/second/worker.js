const fs = require('fs');
const http = require('http');
const { execFileSync } = require('child_process');
const { ID, PORT, NAME, N, DIR } = process.env;

class Queue {
  #jobs = null;
  drain() { return this.#jobs.map((job) => job.id); }
}
class ToolError extends Error {
  constructor(tool, cause) { super(`tool ${tool} failed for session ${ID}`, { cause }); this.name = 'ToolError'; }
}
function listen(port) {
  return new Promise((resolve, reject) => {
    const first = http.createServer().listen(port, '127.0.0.1', () => {
      http.createServer().on('error', (error) => { first.close(); reject(error); }).listen(port, '127.0.0.1');
    });
  });
}
function compile(pattern) { return new RegExp(pattern); }
function descend(node) { return descend(node) + 1; }
function visit(tree) { return descend(tree); }
function readTool() {
  try { fs.readdirSync(`${DIR}/tools/${NAME}`); } catch (error) { throw new ToolError(`reader-${N}`, error); }
}
async function ask(port) { return await fetch(`http://127.0.0.1:${port}/v1/messages?session=${ID}`); }
function validate(ticket) {
  if (!ticket.owner) throw new Error(`ticket #${N} has no owner (${ID})`);
  if (!ticket.title) throw new Error(`ticket #${N} has no title (${ID})`);
}
function total(prices) { return prices.reduce((sum, price) => sum + price.amount.toFixed(2), 0); }
function branch() { return execFileSync('false', [ID], { stdio: 'pipe' }); }
function plugin() { return require(`${DIR}/plugins/${NAME}`); }
function decode(header) { return decodeURIComponent(header + '%E0%A4%A'); }
function big(n) { return new Array(-n); }
const bugs = {
  drain: () => new Queue().drain(),
  inUse: () => listen(Number(PORT)),
  pattern: () => compile(`(${ID}`),
  recursion: () => visit({}),
  tool: () => readTool(),
  fetch: () => ask(PORT),
  noOwner: () => validate({ title: 'x' }),
  noTitle: () => validate({ owner: 'x' }),
  total: () => total([{ amount: 1 }, null]),
  branch: () => branch(),
  plugin: () => plugin(),
  uri: () => decode(ID),
  array: () => big(Number(N)),
  all: () => Promise.all([1, 2].map(async (k) => { if (k === 2) throw new RangeError(`shard ${N} of ${ID} is gone`); })),
};
process.on('uncaughtException', tell);
function tell(error) {
  const { name, message, stack } = error;
  console.log(JSON.stringify({ name, message, stack }));
  process.exit(0);
}
(async () => { try { await bugs[process.argv[2]](); } catch (error) { tell(error); } })();
