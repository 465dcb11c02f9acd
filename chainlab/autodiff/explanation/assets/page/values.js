const data = JSON.parse(document.getElementById("data").textContent);
const { nodes, edges, levels, leaves } = data;
const WIDTH = 176, HEIGHT = 62, GAP_X = 30, GAP_Y = 46, PAD = 20, HEAD = 26, BEND = 22;
const svg = document.getElementById("graph"), view = document.getElementById("view");

// ---------------------------------------------------------------- small helpers

const make = (namespace) => (tag, attributes = {}, ...children) => {
  const element = namespace ? document.createElementNS(namespace, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, call] of Object.entries(value)) element.addEventListener(event, call);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};
const html = make(""), draw = make("http://www.w3.org/2000/svg");

const format = (value) => {
  if (typeof value !== "number") return String(value);
  if (value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5)) return String(Number(value.toPrecision(4)));
  return value.toExponential(2).replace("e+", "e");
};
const clip = (text, length) => (text.length > length ? text.slice(0, length - 1) + "…" : text);
const clipFront = (text, length) => (text.length > length ? "…" + text.slice(1 - length) : text); // the end of a key path says most
const isScalar = (statistics) => statistics && statistics.size === 1 && statistics.values !== undefined;
const scalar = (statistics) => [statistics.values].flat(9)[0];
const amount = (statistics) => {
  if (!statistics) return "none";
  return isScalar(statistics) ? format(scalar(statistics)) : `‖${format(statistics.norm)}‖`;
};
const localText = (local) => {
  if (!local) return "–";
  if (local.kind === "scalar" && local.value !== undefined) return format(local.value);
  return `‖${local.estimated ? "≈" : ""}${format(local.norm)}‖` + (local.sigma === null ? "" : `, σ ${format(local.sigma)}`);
};

// ---------------------------------------------------------------- structure

const parent = new Map(), home = new Map();
levels.forEach((level, index) => {
  for (const name of Object.keys(level.places)) {
    if (name[0] === "s") parent.set(+name.slice(1), index);
    else home.set(+name.slice(1), index);
  }
});
const incoming = nodes.map(() => []), outgoing = nodes.map(() => []);
for (const edge of edges) {
  incoming[edge.target].push(edge);
  outgoing[edge.source].push(edge);
}
const chains = nodes.map((node) => {
  const chain = [`n${node.id}`];
  for (let level = home.get(node.id); level !== 0; level = parent.get(level)) chain.unshift(`s${level}`);
  return chain;
});
const members = levels.map(() => []);
chains.forEach((chain, id) => chain.slice(0, -1).forEach((name) => members[+name.slice(1)].push(id)));
const largest = Math.max(...edges.filter((e) => e.active && Number.isFinite(e.norm)).map((e) => e.norm), 0);
const strength = (norm) => (largest > 0 && norm > 0 ? Math.min(1, Math.max(0, 1 + Math.log10(norm / largest) / 5)) : 0);

const state = { folded: new Set(), selected: null, path: null, leaf: 0, x: 0, y: 0, scale: 1, found: new Set() };
levels.forEach((level, index) => {
  if (index && (nodes.length > 160 || level.name.startsWith("step "))) state.folded.add(index);
});
