// Nodes. Text of agents only ever becomes a text node, an attribute's value or an encoded path: never markup.

const SVG = "http://www.w3.org/2000/svg";

function put(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element; children are nodes or text, `null` is none. */
export const h = (tag, attributes = {}, ...children) => put(document.createElement(tag), attributes, children);

/** An SVG element. */
export const svg = (tag, attributes = {}, ...children) =>
  put(document.createElementNS(SVG, tag), attributes, children);

/** Sets text only when it is another one, so that nothing is laid out again for nothing. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets or removes an attribute, only when it is another one. */
export function mark(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export const agentPath = (id) => `/agents/${encodeURIComponent(id)}`;

/** A link to an agent's page; the daemon itself has none. */
export const agentLink = (id) =>
  id === null ? h("span", { class: "quiet" }, "the monitor") : h("a", { class: "agent", href: agentPath(id) }, id);

/** A moment: how long ago, with the full time at hand. `refreshAges` keeps it true. */
export function ago(time) {
  const node = h("time", { datetime: time, title: new Date(time).toLocaleString() });
  node.textContent = age(time, Date.now());
  return node;
}

export function refreshAges(root, now) {
  for (const node of root.querySelectorAll("time[datetime]")) say(node, age(node.dateTime, now));
}

/** How long ago, in the largest unit that says enough. */
export function age(time, now) {
  return `${span(Math.max(0, now - Date.parse(time)) / 1000)} ago`;
}

/** Seconds in words. */
export function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  const [hours, days] = [Math.floor(seconds / 3600), Math.floor(seconds / 86400)];
  if (days < 2) return `${hours} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${days} d ${hours % 24} h`;
}

const NONE = "–";

/** Processor time, seconds. */
export function worked(seconds) {
  if (seconds === null) return NONE;
  const [size, unit] = [[86_400, "d"], [3600, "h"], [60, "min"]].find(([size]) => seconds >= size) ?? [1, "s"];
  return `${(seconds / size).toFixed(1)} ${unit}`;
}

/** Percent of one core. */
export const percent = (value) => (value === null || value === undefined ? NONE : `${fixed(value)} %`);

/** MiB, or GiB where that reads better. */
export function memory(mib) {
  if (mib === null || mib === undefined) return NONE;
  return mib >= 1024 ? `${fixed(mib / 1024)} GiB` : `${fixed(mib)} MiB`;
}

export const count = (value) => (value === null || value === undefined ? NONE : value.toLocaleString("en"));

function fixed(value) {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}
