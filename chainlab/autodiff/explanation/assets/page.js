"use strict";
(() => {
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

  // ---------------------------------------------------------------- placement: rows of boxes, scopes inside scopes

  function measure(index) {
    const { places, routes } = levels[index];
    const rows = new Map(), items = new Map(), entries = new Map(), bends = new Map();
    const put = (layer, item) => {
      item.links = [];
      if (rows.has(layer)) rows.get(layer).push(item);
      else rows.set(layer, [item]);
      return item;
    };
    for (const [name, [layer, at]] of Object.entries(places)) {
      if (name[0] === "e") entries.set(name, put(layer, { bend: true, at, w: BEND, h: 0 }));
      else {
        const inner = name[0] === "s" && !state.folded.has(+name.slice(1)) ? measure(+name.slice(1)) : null;
        items.set(name, put(layer, { inner, at, w: inner ? inner.w : WIDTH, h: inner ? inner.h : HEIGHT }));
      }
    }
    for (const [pair, route] of Object.entries(routes)) {
      const [a, b] = pair.split(" ");
      bends.set(pair, route.map(([layer, at]) => put(layer, { bend: true, at, w: BEND, h: 0 })));
      const chain = [items.get(a) || entries.get(a), ...bends.get(pair), items.get(b)];
      for (let i = 1; i < chain.length; i += 1) {
        const weight = chain[i - 1].bend && chain[i].bend ? 6 : 1;
        chain[i - 1].links.push([chain[i], weight]);
        chain[i].links.push([chain[i - 1], weight]);
      }
    }
    const order = [...rows.keys()].sort((p, q) => p - q).map((layer) => rows.get(layer).sort((p, q) => p.at - q.at));
    align(order);
    let y = index ? HEAD + PAD : 0, left = Infinity, right = -Infinity;
    for (const row of order) {
      const height = Math.max(...row.map((item) => item.h));
      for (const item of row) {
        item.x = item.center - item.w / 2;
        item.y = y + (height - item.h) / 2;
        Object.assign(item, { top: y, bottom: y + height });
        left = Math.min(left, item.x);
        right = Math.max(right, item.x + item.w);
      }
      y += height + GAP_Y;
    }
    const pad = index ? PAD : 0;
    for (const row of order) for (const item of row) { item.x += pad - left; item.center += pad - left; }
    return { items, entries, bends, w: Math.max(right - left + 2 * pad, index ? 150 : 0), h: y - GAP_Y + pad };
  }

  // igraph orders every row; only the page knows how wide the boxes are, so it chooses the positions: each item moves
  // towards what it is linked to, in order and without overlap.
  function align(order) {
    const apart = (p, q) => (p.w + q.w) / 2 + (p.bend || q.bend ? GAP_X / 2 : GAP_X);
    for (const row of order) {
      let x = 0;
      row.forEach((item, i) => { item.center = x += i ? apart(row[i - 1], item) : 0; });
      row.forEach((item) => { item.center -= x / 2; });
    }
    for (let sweep = 0; sweep < 16; sweep += 1) {
      for (const row of sweep % 2 ? [...order].reverse() : order) {
        const wanted = row.map((item) => {
          let sum = 0, total = 0;
          for (const [other, weight] of item.links) { sum += weight * other.center; total += weight; }
          return total ? sum / total : item.center;
        });
        const low = [...wanted], high = [...wanted];
        for (let i = 1; i < row.length; i += 1) low[i] = Math.max(low[i], low[i - 1] + apart(row[i - 1], row[i]));
        for (let i = row.length - 2; i >= 0; i -= 1) high[i] = Math.min(high[i], high[i + 1] - apart(row[i], row[i + 1]));
        row.forEach((item, i) => { item.center = (low[i] + high[i]) / 2; });
      }
    }
  }

  function spread(index, measured, x, y, out) {
    const bend = (item) => ({ x: x + item.center, top: y + item.top, bottom: y + item.bottom });
    out.bends.set(index, new Map([...measured.bends].map(([pair, list]) => [pair, list.map(bend)])));
    out.entries.set(index, new Map([...measured.entries].map(([name, item]) => [name, bend(item)])));
    for (const [name, item] of measured.items) {
      const box = { name, x: x + item.x, y: y + item.y, w: item.w, h: item.h };
      if (item.inner) {
        out.frames.push({ ...box, level: +name.slice(1) });
        spread(+name.slice(1), item.inner, box.x, box.y, out);
      } else out.boxes.set(name, box);
    }
    return out;
  }

  const visible = (id) => chains[id].find((name) => name[0] === "n" || state.folded.has(+name.slice(1)));

  function route(a, b, placed) {
    let depth = 0;
    while (a[depth] === b[depth]) depth += 1;
    const inside = (d) => (d ? +b[d - 1].slice(1) : 0);
    const bends = [...(placed.bends.get(inside(depth)).get(`${a[depth]} ${b[depth]}`) || [])];
    for (let d = depth + 1; d < b.length && placed.bends.has(inside(d)); d += 1) {
      const entry = placed.entries.get(inside(d)).get(`e${b[d]}`);
      if (entry) bends.push(entry, ...placed.bends.get(inside(d)).get(`e${b[d]} ${b[d]}`));
    }
    return bends;
  }

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

  // ---------------------------------------------------------------- camera

  function camera() {
    view.setAttribute("transform", `translate(${state.x},${state.y}) scale(${state.scale})`);
    view.classList.toggle("far", state.scale < 0.3);
  }
  function zoom(factor, x = svg.clientWidth / 2, y = svg.clientHeight / 2) {
    const scale = Math.min(4, Math.max(0.02, state.scale * factor)), ratio = scale / state.scale;
    Object.assign(state, { scale, x: x - (x - state.x) * ratio, y: y - (y - state.y) * ratio });
    camera();
  }
  function fit(readable) {
    const w = svg.clientWidth - 48, h = svg.clientHeight - 48;
    const whole = Math.min(1.25, w / bounds.w, h / bounds.h);
    const scale = readable ? Math.max(whole, 0.8) : whole;
    Object.assign(state, { scale, x: 24 + (w - bounds.w * scale) / 2, y: 24 + Math.max(0, (h - bounds.h * scale) / 2) });
    camera();
  }
  function bring(name) {
    const box = placed.boxes.get(name);
    if (!box) return;
    const scale = Math.max(state.scale, 0.6);
    const x = state.x + (box.x + box.w / 2) * state.scale, y = state.y + (box.y + box.h / 2) * state.scale;
    const inside = x > 60 && y > 40 && x < svg.clientWidth - 60 && y < svg.clientHeight - 40;
    if (inside && scale === state.scale) return;
    Object.assign(state, { scale, x: svg.clientWidth / 2 - (box.x + box.w / 2) * scale, y: svg.clientHeight / 2 - (box.y + box.h / 2) * scale });
    camera();
  }

  const pointers = new Map();
  let moved = 0;
  svg.addEventListener("pointerdown", (event) => { pointers.set(event.pointerId, event); moved = 0; });
  window.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    if (pointers.size === 1) {
      state.x += event.clientX - before.clientX;
      state.y += event.clientY - before.clientY;
      moved += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
      svg.classList.toggle("dragging", moved > 4);
      camera();
    } else {
      const other = [...pointers.values()].find((pointer) => pointer.pointerId !== event.pointerId);
      const span = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY) || 1;
      const frame = svg.getBoundingClientRect();
      zoom(span(event) / span(before), (event.clientX + other.clientX) / 2 - frame.left, (event.clientY + other.clientY) / 2 - frame.top);
      moved = 9;
    }
    pointers.set(event.pointerId, event);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    window.addEventListener(kind, (event) => { pointers.delete(event.pointerId); svg.classList.remove("dragging"); });
  }
  svg.addEventListener("click", (event) => { if (moved > 4) { event.stopPropagation(); event.preventDefault(); } }, true);
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const frame = svg.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.clientX - frame.left, event.clientY - frame.top);
  }, { passive: false });

  // ---------------------------------------------------------------- selection and keys

  function reveal(id) {
    const hidden = chains[id].filter((name) => name[0] === "s" && state.folded.has(+name.slice(1)));
    hidden.forEach((name) => state.folded.delete(+name.slice(1)));
    if (hidden.length) render();
  }
  function select(id) {
    state.selected = id;
    if (id !== null) { reveal(id); bring(`n${id}`); }
    paint();
    details();
  }
  function choose(path) {
    state.path = state.path === path ? null : path;
    paint();
    listPaths();
    if (state.path) bring(visible(state.path.nodes[0]));
  }
  function keyed(event, name, act) {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); return; }
    const box = placed.boxes.get(name);
    let next = null;
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const down = event.key === "ArrowDown";
      const linked = drawnEdges.filter((edge) => (down ? edge.a : edge.b) === name)
        .sort((p, q) => Math.max(...q.bundle.map((e) => e.norm || 0)) - Math.max(...p.bundle.map((e) => e.norm || 0)));
      if (linked.length) next = down ? linked[0].b : linked[0].a;
    } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      const sign = event.key === "ArrowLeft" ? -1 : 1;
      const beside = [...placed.boxes.values()].filter((other) => Math.abs(other.y - box.y) < HEIGHT && sign * (other.x - box.x) > 0);
      beside.sort((p, q) => sign * (p.x - q.x));
      if (beside.length) next = beside[0].name;
    }
    if (!next) return;
    event.preventDefault();
    bring(next);
    drawnBoxes.get(next).focus({ preventScroll: true });
  }
  document.addEventListener("keydown", (event) => {
    const typing = ["INPUT", "SELECT"].includes(document.activeElement.tagName);
    if (event.key === "Escape") {
      Object.assign(state, { selected: null, path: null });
      if (typing) document.activeElement.blur();
      paint(); details(); listPaths();
    } else if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "/") { event.preventDefault(); search.focus(); }
    else if (event.key === "+" || event.key === "=") zoom(1.25);
    else if (event.key === "-") zoom(0.8);
    else if (event.key === "f") fit(false);
  });

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
      table(["operand", "declared", "true", "differ by"], [[link(edge.source), localText(edge.local), localText(edge.forward), edge.deviation === null ? "–" : `${format(100 * edge.deviation)} %`]])];
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

  // ---------------------------------------------------------------- tools

  const search = document.getElementById("search");
  let hits = [], hit = -1;
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    hits = wanted ? nodes.filter((n) => `${n.name} ${n.op} ${n.scope.join("/")} ${n.source}`.toLowerCase().includes(wanted)).map((n) => n.id) : [];
    hit = -1;
    state.found = new Set(hits.map(visible));
    paint();
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !hits.length) return;
    hit = (hit + 1) % hits.length;
    select(hits[hit]);
  });
  const press = (id, call) => document.getElementById(id).addEventListener("click", call);
  press("zoom-in", () => zoom(1.25));
  press("zoom-out", () => zoom(0.8));
  press("fit", () => fit(false));
  press("open-all", () => { state.folded.clear(); render(); fit(true); });
  press("fold-all", () => { levels.forEach((_, index) => index && state.folded.add(index)); render(); fit(true); });
  if (levels.length === 1) for (const id of ["open-all", "fold-all"]) document.getElementById(id).hidden = true;

  document.getElementById("title").textContent = data.title;
  document.getElementById("value").textContent = `= ${format(data.value)}`;
  document.getElementById("facts").textContent = `${nodes.length} nodes · ${edges.length} edges`;
  render();
  fit(true);
  details();
  listPaths();
  legend();
})();
