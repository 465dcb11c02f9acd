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
