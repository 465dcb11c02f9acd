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
