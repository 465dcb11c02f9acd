// ---------------------------------------------------------------- the panel

const link = (id) => html("a", { class: "node", href: `#n${id}`, on: { click: (event) => { event.preventDefault(); select(id); } } }, nodes[id].name);
const table = (head, rows, total) => html("table", {}, html("tr", {}, ...head.map((cell) => html("th", {}, cell))),
  ...rows.map((row) => html("tr", {}, ...row.map((cell) => html("td", {}, cell)))),
  total ? html("tr", { class: "total" }, ...total.map((cell) => html("td", {}, cell))) : null);

function statistics(heading, s, type) {
  if (!s) return [];
  const parts = [html("h3", {}, heading)];
  if (isScalar(s)) parts.push(html("p", {}, format(scalar(s))));
  else if (s.values) {
    const rows = Array.isArray(s.values[0]) ? s.values.map((row) => row.flat(9)) : [s.values];
    parts.push(html("div", { class: "numbers" }, html("table", {}, ...rows.map((row) => html("tr", {}, ...row.map((v) => html("td", {}, format(v))))))));
  }
  if (!isScalar(s)) {
    parts.push(table(["norm", "mean", "std", "min", "max"], [[s.norm, s.mean, s.std, s.smallest, s.largest].map(format)]));
    const notes = [type, `${s.size} elements`];
    if (s.zeros > 0) notes.push(`${format(100 * s.zeros)} % exactly zero`);
    parts.push(html("p", { class: "soft" }, notes.join(" · ")));
  }
  if (s.nonfinite) parts.push(html("p", {}, html("span", { class: "badge surrogate" }, `${s.nonfinite} not finite`)));
  return parts;
}

function spark(name, values) {
  const points = values.map((v) => (typeof v === "number" && v > 0 ? Math.log10(v) : null));
  const known = points.filter((v) => v !== null);
  const low = Math.min(...known), high = Math.max(...known), span = high - low || 1;
  let line = "";
  points.forEach((v, i) => { if (v !== null) line += `${line ? "L" : "M"}${(100 * i) / Math.max(1, points.length - 1)},${58 - (52 * (v - low)) / span}`; });
  return [html("h3", {}, name),
    draw("svg", { class: "spark", viewBox: "0 0 100 64", preserveAspectRatio: "none", role: "img", "aria-label": `${name} by iteration` }, draw("path", { d: line })),
    html("p", { class: "soft" }, known.length ? `norm, log scale: first ${format(values[0])}, last ${format(values[values.length - 1])}, ${values.length} iterations` : "all zero")];
}

function rule(edge) {
  if (edge.deviation === undefined) return [];
  const agrees = edge.deviation !== null && edge.deviation <= 1e-5;
  return [html("p", {}, html("span", { class: `badge ${agrees ? "agrees" : "surrogate"}`, style: "margin:0" }, agrees ? "declared rule agrees with its forward" : "declared rule differs from its forward")),
    table(["operand", "declared", "true", "differ by"], [[link(edge.source), localText(edge.local), localText(edge.forward), edge.deviation === null ? "–" : `${format(100 * edge.deviation)} %`]]),
      ...Object.entries(edge.evaluations ?? {}).map(([name, values]) => html("p", { class: "soft" }, `its rule evaluates: ${name} = ${[values].flat(9).slice(0, 16).map(format).join(", ")}`))];
}

function details() {
  const panel = document.getElementById("details");
  if (state.selected === null) {
    panel.replaceChildren(html("h2", {}, "The chain rule"),
      html("p", {}, "Each box is a value; its adjoint is the derivative of the output with respect to it. An edge multiplies the adjoint below it by its local derivative and adds the product to the adjoint above."),
      html("p", { class: "soft" }, "Click a box, or move with Tab and the arrow keys and press Enter. Drag to pan, scroll to zoom."));
    return;
  }
  const node = nodes[state.selected];
  const operands = Object.entries(node.literals).map(([position, text]) => [+position, text]);
  incoming[node.id].forEach((edge) => operands.push([edge.position, nodes[edge.source].name]));
  operands.sort((a, b) => a[0] - b[0]);
  const badges = [];
  if (node.kind.startsWith("custom")) badges.push(html("span", { class: "badge custom" }, node.kind));
  if (node.kind === "loop") badges.push(html("span", { class: "badge loop" }, "folded loop"));
  const uses = outgoing[node.id].filter((edge) => edge.active), sources = incoming[node.id].filter((edge) => edge.active);
  const added = (edge) => (edge.contribution !== undefined ? format(edge.contribution) : `‖${format(edge.norm)}‖`);
  const parts = [html("h2", {}, node.name, ...badges)];
  if (node.kind === "operation" || badges.length) parts.push(html("p", {}, `${node.op}(${operands.map((o) => o[1]).join(", ")})`));
  parts.push(html("p", { class: "soft" }, [node.type, node.scope.join(" / "), node.source].filter(Boolean).join(" · ")));
  parts.push(html("p", { class: "sum" }, node.active ? "adjoint " : "no derivative flows through it", node.active ? html("b", { id: "adjoint" }, amount(node.adjoint)) : null));
  if (node.active && node.kind !== "output") {
    parts.push(html("h3", {}, uses.length === 1 ? "The adjoint comes from its one use" : `The adjoint is the sum over its ${uses.length} uses`),
      table(["used by", "local derivative", "× adjoint", "= contribution"],
        uses.map((edge) => [link(edge.target), localText(edge.local), amount(nodes[edge.target].adjoint), added(edge)]),
        uses.length > 1 ? ["sum", "", "", amount(node.adjoint)] : null));
  }
  sources.forEach((edge) => parts.push(...rule(edge)));
  if (sources.length) {
    parts.push(html("h3", {}, "What it passes on"),
      table(["operand", "local derivative", "contribution"], sources.map((edge) => [link(edge.source), localText(edge.local), added(edge)])));
  }
  const small = sources.concat(uses).find((edge) => edge.local && edge.local.kind === "jacobian" && edge.local.value && edge.target === node.id);
  if (small) {
    const rows = small.local.value.map((row) => [row].flat(9));
    parts.push(html("h3", {}, `Jacobian with respect to ${nodes[small.source].name}`),
      html("div", { class: "numbers" }, html("table", {}, ...rows.map((row) => html("tr", {}, ...row.map((v) => html("td", {}, format(v))))))));
  }
  parts.push(...statistics("Value", node.value, node.type));
  if (!isScalar(node.adjoint)) parts.push(...statistics("Adjoint", node.adjoint, node.type));
  for (const [name, values] of Object.entries(node.iterations)) parts.push(...spark(name, values));
  if (node.active && node.kind !== "output") parts.push(html("p", { class: "soft" }, `${node.paths} path${node.paths === "1" ? "" : "s"} from here to the output`));
  panel.replaceChildren(...parts.filter(Boolean));
  document.getElementById("panel").scrollTop = 0;
}

const WEIGHTS = {
  scalar: "product of local derivatives",
  elements: "product of entries of the local Jacobians, through single elements",
  gains: "product of gains |contribution| / |adjoint|",
};
function listPaths() {
  const panel = document.getElementById("paths");
  if (!leaves.length) return;
  const leaf = leaves[state.leaf];
  const picker = html("select", { "aria-label": "Argument", on: { change: (event) => { state.leaf = +event.target.value; state.path = null; paint(); listPaths(); } } },
    ...leaves.map((l, i) => html("option", { value: i, ...(i === state.leaf ? { selected: "" } : {}) }, l.name)));
  const buttons = leaf.paths.map((path) => {
    const factors = path.factors.map(format);
    const shown = factors.length > 10 ? [...factors.slice(0, 5), "…", ...factors.slice(-4)] : factors;
    const step = (id, i) => nodes[id].name + (path.indices.length && nodes[id].size > 1 ? `[${path.indices[i].join(",")}]` : "");
    const way = path.nodes.map(step);
    const names = way.length > 12 ? [...way.slice(0, 6), "…", ...way.slice(-5)] : way;
    return html("button", { class: "path", type: "button", "aria-pressed": String(path === state.path), on: { click: () => choose(path) } },
      html("span", { class: "product" }, `${shown.join(" × ") || "1"} = ${format(path.product)}`), html("span", { class: "way" }, names.join(" → ")));
  });
  const rest = BigInt(leaf.count) - BigInt(leaf.paths.length);
  panel.replaceChildren(...[html("h2", {}, "Largest paths"), leaves.length > 1 ? picker : html("p", {}, html("b", {}, leaf.name)),
    html("p", { class: "soft" }, `${leaf.count} path${leaf.count === "1" ? "" : "s"} to the output · ${WEIGHTS[leaf.weighting]}`), ...buttons,
    rest > 0n ? html("p", { class: "soft" }, `${rest} more`) : null].filter(Boolean));
}

function legend() {
  const key = (color, text) => html("span", { class: "key" }, html("span", { class: "swatch", style: `color:var(--${color})` }), text);
  const kinds = new Set(nodes.map((node) => node.kind));
  document.getElementById("legend").replaceChildren(key("input", "argument"), key("operation", "operation"), key("output", "output"),
    ...(kinds.has("custom_jvp") || kinds.has("custom_vjp") ? [key("custom", "declares its own derivative")] : []),
    ...(kinds.has("loop") ? [key("loop", "folded loop")] : []),
    key("positive", "contribution > 0"), key("negative", "contribution < 0"), key("plain", "array contribution"),
    html("p", {}, "An edge is thicker the larger its contribution (log scale). Dashed: no derivative. ‖·‖ is a Euclidean norm, σ the largest singular value."));
}
