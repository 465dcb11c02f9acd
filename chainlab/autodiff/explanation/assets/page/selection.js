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
