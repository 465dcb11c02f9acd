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
