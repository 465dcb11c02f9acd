// ---------------------------------------------------------------- drawing

let placed = null, bounds = { w: 1, h: 1 };
const drawnBoxes = new Map();
let drawnEdges = [];

function render() {
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.name : null;
  const measured = measure(0);
  bounds = measured;
  placed = spread(0, measured, 0, 0, { boxes: new Map(), frames: [], bends: new Map(), entries: new Map() });
  view.replaceChildren();
  drawnBoxes.clear();
  drawnEdges = [];
  for (const frame of placed.frames) view.append(drawFrame(frame));
  const pairs = new Map();
  for (const edge of edges) {
    const a = visible(edge.source), b = visible(edge.target);
    if (a === b) continue;
    const key = `${a} ${b}`;
    if (!pairs.has(key)) pairs.set(key, []);
    pairs.get(key).push(edge);
  }
  const labels = [], labelled = pairs.size <= 260;
  for (const [key, list] of pairs) {
    const [a, b] = key.split(" ");
    const apart = a[0] === "n" && b[0] === "n" && list.length <= 6;
    const bundles = apart ? list.map((edge) => [edge]) : [list];
    bundles.forEach((bundle, index) => drawEdge(a, b, bundle, (index - (bundles.length - 1) / 2) * 34, labelled ? labels : null));
  }
  for (const [name, box] of placed.boxes) view.append(drawBox(name, box));
  view.append(...labels);
  paint();
  if (focused && drawnBoxes.has(focused)) drawnBoxes.get(focused).focus({ preventScroll: true });
}

function drawFrame(frame) {
  const fold = () => { state.folded.add(frame.level); render(); };
  const label = draw("text", { x: 12, y: 18 }, `▾ ${clip(levels[frame.level].name, Math.floor(frame.w / 7.5))}`);
  const toggle = draw("g", { class: "toggle", tabindex: 0, role: "button", "aria-label": `Fold ${levels[frame.level].name}`,
    on: { click: (event) => { event.stopPropagation(); fold(); }, keydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); fold(); } } } },
    draw("rect", { width: Math.min(frame.w, 220), height: HEAD, fill: "transparent", style: "fill:transparent;stroke:none" }), label);
  return draw("g", { class: "frame", transform: `translate(${frame.x},${frame.y})` },
    draw("rect", { width: frame.w, height: frame.h, rx: 10 }), toggle);
}

function drawEdge(a, b, bundle, offset, labels) {
  const from = placed.boxes.get(a), to = placed.boxes.get(b);
  const bends = route(chains[bundle[0].source], chains[bundle[0].target], placed);
  const points = [{ x: from.x + from.w / 2 + offset / 2, y: from.y + from.h }];
  for (const bend of bends) points.push({ x: bend.x, y: bend.top }, { x: bend.x, y: bend.bottom });
  points.push({ x: to.x + to.w / 2 + offset / 2, y: to.y });
  let line = `M${points[0].x},${points[0].y}`;
  for (let i = 1; i < points.length; i += 1) {
    const p = points[i - 1], q = points[i], middle = (p.y + q.y) / 2;
    const bow = points.length === 2 ? offset : 0;
    line += p.x === q.x && !bow ? `L${q.x},${q.y}` : `C${p.x + bow},${middle} ${q.x + bow},${middle} ${q.x},${q.y}`;
  }
  const active = bundle.filter((edge) => edge.active);
  const norm = Math.hypot(...active.map((edge) => (Number.isFinite(edge.norm) ? edge.norm : 0)));
  const thick = strength(norm);
  const sign = active.length === 1 && typeof active[0].contribution === "number" ? (active[0].contribution < 0 ? "negative" : "positive") : "";
  const element = draw("path", {
    class: `edge ${active.length ? sign : "inactive"}`, d: line,
    "stroke-width": active.length ? (1 + 4.5 * thick).toFixed(2) : 1,
    style: active.length ? `--strength:${(0.3 + 0.6 * thick).toFixed(2)}` : null,
  }, draw("title", {}, active.length ? `contribution ${active.length === 1 && active[0].contribution !== undefined ? format(active[0].contribution) : format(norm)}` : "no derivative"));
  view.append(element);
  drawnEdges.push({ element, bundle, a, b });
  const local = bundle.length === 1 && bundle[0].local;
  if (labels && local && local.kind === "scalar" && local.value !== undefined) {
    // near the upper end of its first stretch, where edges that meet further down are still apart
    const [p, q] = points, t = 0.36, ease = t * t * (3 - 2 * t), y = p.y + (q.y - p.y) * (1.5 * t * (1 - t) + t * t * t);
    const text = `×${format(local.value)}`, w = 6.4 * text.length + 8;
    const x = p.x + (q.x - p.x) * ease + (points.length === 2 ? 3 * t * (1 - t) * offset : 0);
    labels.push(draw("g", { class: "factor", transform: `translate(${x},${y})` },
      draw("rect", { x: -w / 2, y: -8, width: w, height: 16, rx: 8 }), draw("text", { y: 4 }, text)));
  }
}

function drawBox(name, box) {
  const scope = name[0] === "s", id = +name.slice(1), node = scope ? null : nodes[id];
  const open = () => { state.folded.delete(id); render(); };
  const act = () => (scope ? open() : select(id));
  const title = scope ? levels[id].name : node.name;
  const group = draw("g", {
    class: scope ? "box scope" : `box ${node.kind}${node.active ? "" : " inactive"}`, "data-name": name,
    transform: `translate(${box.x},${box.y})`, tabindex: 0, role: "button",
    "aria-label": scope ? `Open ${title}, ${members[id].length} nodes` : `${title}, value ${amount(node.value)}, adjoint ${amount(node.adjoint)}`,
    on: { click: act, keydown: (event) => keyed(event, name, act) },
  });
  if (scope) group.append(draw("rect", { class: "behind", x: 5, y: 5, width: box.w, height: box.h, rx: 8 }));
  group.append(draw("rect", { class: "body", width: box.w, height: box.h, rx: 8 }));
  if (scope) {
    group.append(draw("text", { class: "name", x: 14, y: 26 }, `▸ ${clip(title, 20)}`),
      draw("text", { class: "type", x: 14, y: 45 }, `${members[id].length} nodes`));
    return remember(name, group);
  }
  const valueText = isScalar(node.value) ? format(scalar(node.value)) : `${node.type} ‖${format(node.value ? node.value.norm : 0)}‖`;
  group.append(
    draw("rect", { class: "strip", x: 0, y: 8, width: 4, height: box.h - 16, rx: 2 }),
    draw("text", { class: "name", x: 14, y: 19 }, (node.kind === "input" ? clipFront : clip)(node.name, 21)),
    draw("text", { class: "type", x: 14, y: 36 }, clip(valueText, 25)),
    draw("text", { class: "adjoint", x: 14, y: 53 }, node.active ? `adjoint ${amount(node.adjoint)}` : "no derivative"),
    draw("title", {}, `${node.name} = ${node.op}\n${node.source}`));
  return remember(name, group);
}

const remember = (name, group) => { drawnBoxes.set(name, group); return group; };

function paint() {
  const marked = new Set(), markedEdges = new Set();
  if (state.path) {
    state.path.nodes.forEach((id) => marked.add(visible(id)));
    state.path.edges.forEach((id) => markedEdges.add(id));
  }
  view.classList.toggle("faded", Boolean(state.path));
  for (const [name, group] of drawnBoxes) {
    group.classList.toggle("marked", marked.has(name));
    group.classList.toggle("selected", name === `n${state.selected}`);
    group.classList.toggle("found", state.found.has(name));
  }
  for (const { element, bundle } of drawnEdges) {
    element.classList.toggle("marked", bundle.some((edge) => markedEdges.has(edge.id)));
    element.classList.toggle("near", bundle.some((edge) => edge.source === state.selected || edge.target === state.selected));
  }
}
