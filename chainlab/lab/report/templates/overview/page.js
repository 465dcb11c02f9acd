// The table, the choice of runs, and what the address remembers: filter, order, columns and chosen runs.

const data = JSON.parse(document.getElementById("table").textContent);
const at = new Map(data.keys.map((key, index) => [key, index]));
const byId = (id) => document.getElementById(id);
let points = null; // the curves are read when the first run is chosen

const html = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, call] of Object.entries(value)) element.addEventListener(event, call);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};

const label = (key) => key.replace(/^(config|metrics)\./, "");
const isConfig = (key) => key.startsWith("config.");
const isMetric = (key) => key.startsWith("metrics.");

const runs = data.names.map((name, index) => {
  const values = data.values[index];
  const get = (key) => (at.has(key) ? values[at.get(key)] : key === "name" ? name : data.shared[key]);
  const keys = new Set(["name", ...Object.keys(data.shared), ...data.keys.filter((_, column) => values[column] !== null)]);
  const words = [name, get("note"), get("tags"), get("experiment")].join(" ").toLowerCase();
  return { index, name, get, keys, words, links: data.links[index] };
});

// ---------------------------------------------------------------- state

const known = ["status", "experiment", "started", "seconds", "claims"].filter((key) => at.has(key) || key in data.shared);
const varying = data.keys.filter((key) => isConfig(key) && key !== "config.experiment");
const initial = [...known, ...data.keys.filter(isMetric).slice(0, 3), ...(varying.length <= 12 ? varying.slice(0, 6) : [])];
const stored = new URLSearchParams(location.hash.slice(1));
const state = {
  query: stored.get("filter") ?? "",
  sort: stored.get("sort") ?? (at.has("started") ? "-started" : "name"),
  columns: stored.get("columns")?.split(" ") ?? initial,
  chosen: new Set((stored.get("runs")?.split(" ") ?? []).filter((name) => data.names.includes(name))),
};

const remember = () => {
  const kept = new URLSearchParams();
  if (state.query) kept.set("filter", state.query);
  kept.set("sort", state.sort);
  if (state.columns.join() !== initial.join()) kept.set("columns", state.columns.join(" "));
  if (state.chosen.size) kept.set("runs", [...state.chosen].join(" "));
  history.replaceState(null, "", `#${kept}`);
};

// ---------------------------------------------------------------- table

const compare = (a, b) => {
  const one = typeof a === "number", other = typeof b === "number";
  if (one !== other) return one ? -1 : 1; // numbers come before text
  return a < b ? -1 : a > b ? 1 : 0;
};

const ordered = (shown) => {
  const down = state.sort.startsWith("-"), key = state.sort.replace(/^-/, "");
  const missing = (run) => run.get(key) === null || run.get(key) === undefined;
  const having = shown.filter((run) => !missing(run)).sort((a, b) => compare(a.get(key), b.get(key)));
  return [...(down ? having.reverse() : having), ...shown.filter(missing)];
};

const cell = (run, key) => {
  const value = run.get(key);
  if (value === null || value === undefined) return html("td", { class: "muted" }, "–");
  if (key === "status") {
    const tone = { done: "good", failed: "bad" }[value] ?? "";
    return html("td", {}, html("span", { class: `pill ${tone}`, title: run.get("error") ?? "" }, value));
  }
  const text = key === "started" || key === "ended" ? value.slice(0, 16).replace("T", " ") : short(value);
  return html("td", { class: typeof value === "number" ? "number" : "", title: text.length > 30 ? text : null }, text);
};

const rowOf = (run) => {
  if (run.row) return run.row;
  const box = html("input", { type: "checkbox", "aria-label": `Choose ${run.name}`, on: { change: () => choose(run, box.checked) } });
  box.checked = state.chosen.has(run.name);
  const links = run.links.map(([what, address], place) => html("a", { href: address }, place ? what : run.name));
  const name = html("th", { scope: "row", title: run.name }, ...(links.length ? links.flatMap((link) => [link, " "]) : [run.name]));
  run.box = box;
  run.row = html("tr", { class: box.checked ? "chosen" : "" }, html("td", {}, box), name, ...state.columns.map((key) => cell(run, key)));
  return run.row;
};

const heads = () => {
  const head = (key) => {
    const current = state.sort.replace(/^-/, "") === key;
    const down = state.sort.startsWith("-");
    const sort = () => { state.sort = current && !down ? `-${key}` : key; table(); };
    const order = current ? (down ? "descending" : "ascending") : null;
    return html("th", { scope: "col", "aria-sort": order }, html("button", { type: "button", on: { click: sort } }, label(key), current ? (down ? " ↓" : " ↑") : ""));
  };
  document.querySelector("#runs thead tr").replaceChildren(html("th", {}, ""), head("name"), ...state.columns.map(head));
};

// The first rows at once, the others when the page has been drawn.
const CHUNK = 100;
let filling = 0;
const fill = (body, rest) => {
  body.append(...rest.slice(0, CHUNK).map(rowOf));
  if (rest.length > CHUNK) filling = setTimeout(fill, 0, body, rest.slice(CHUNK));
};

let shown = runs;
const table = () => {
  const test = readQuery(state.query);
  byId("query").classList.toggle("wrong", test === null);
  if (test !== null) shown = runs.filter(test);
  shown = ordered(shown);
  byId("count").textContent = shown.length === runs.length ? `${runs.length} runs` : `${shown.length} of ${runs.length} runs`;
  heads();
  clearTimeout(filling);
  const body = document.querySelector("#runs tbody");
  body.replaceChildren();
  fill(body, shown);
  remember();
};

const choices = () => {
  const keys = [...known, ...data.keys.filter((key) => !known.includes(key)), ...Object.keys(data.shared).filter((key) => !known.includes(key))];
  const toggle = (key, on) => {
    state.columns = on ? [...state.columns, key] : state.columns.filter((each) => each !== key);
    for (const run of runs) run.row = null;
    table();
  };
  const rows = keys.map((key) => {
    const box = html("input", { type: "checkbox", on: { change: () => toggle(key, box.checked) } });
    box.checked = state.columns.includes(key);
    return html("label", {}, box, " ", label(key));
  });
  document.querySelector("#columns .choices").replaceChildren(...rows);
};

// ---------------------------------------------------------------- chosen runs

const differences = (chosen) => {
  const keys = data.keys.filter((key) => !["started", "ended"].includes(key));
  const differing = keys.filter((key) => new Set(chosen.map((run) => JSON.stringify(run.get(key)))).size > 1);
  const rank = (key) => (isMetric(key) ? 0 : isConfig(key) ? 1 : 2);
  differing.sort((a, b) => rank(a) - rank(b));
  const head = chosen.map((run) => html("th", { scope: "col" }, run.name));
  document.querySelector("#differences thead tr").replaceChildren(html("th", {}, ""), ...head);
  const rows = differing.map((key) => html("tr", {}, html("th", { scope: "row" }, label(key)), ...chosen.map((run) => cell(run, key))));
  document.querySelector("#differences tbody").replaceChildren(...rows);
};

const overlay = () => {
  const chosen = runs.filter((run) => state.chosen.has(run.name));
  byId("chosen").hidden = chosen.length === 0;
  if (!chosen.length) return;
  points ??= JSON.parse(byId("points").textContent);
  const styled = chosen.map((run, place) => ({
    name: run.name,
    color: data.colors[place % data.colors.length],
    dash: DASHES[Math.floor(place / data.colors.length) % DASHES.length],
    curves: points[run.index],
  }));
  const swatch = (color) => html("span", { class: "swatch", style: `background: ${color}` });
  byId("legend").replaceChildren(...styled.map(({ name, color }) => html("li", {}, swatch(color), name)));
  const metrics = [...new Set(styled.flatMap(({ curves }) => Object.keys(curves)))];
  const charts = metrics.map((metric) => {
    const lines = styled.filter(({ curves }) => metric in curves).map((each) => ({ ...each, curve: each.curves[metric] }));
    return html("figure", { class: "card" }, chart(metric, lines));
  });
  byId("curves").replaceChildren(...charts);
  differences(chosen);
};

const choose = (run, on) => {
  if (on) state.chosen.add(run.name); else state.chosen.delete(run.name);
  run.row?.classList.toggle("chosen", on);
  if (run.box) run.box.checked = on;
  overlay();
  remember();
};

byId("query").value = state.query;
byId("query").addEventListener("input", (event) => { state.query = event.target.value; table(); });
byId("choose").addEventListener("click", () => { for (const run of shown.slice(0, 8)) choose(run, true); });
byId("clear").addEventListener("click", () => { for (const run of runs) if (state.chosen.has(run.name)) choose(run, false); });
choices();
table();
overlay();
if (data.refresh) setTimeout(() => location.reload(), data.refresh * 1000);
