// Overlaid curves of the chosen runs as SVG, one chart a metric.

const WIDTH = 460, HEIGHT = 250, LEFT = 52, RIGHT = 20, TOP = 26, BOTTOM = 30;
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];

const svg = (tag, attributes, text) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
};

const short = (value) => {
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
};

// Round values that span a range: 1, 2 or 5 times a power of ten apart, or powers of ten.
const ticks = (low, high, log) => {
  if (log) {
    const first = Math.ceil(Math.log10(low)), last = Math.floor(Math.log10(high));
    const stride = Math.max(1, Math.ceil((last - first + 1) / 5));
    const powers = [];
    for (let power = first; power <= last; power += stride) powers.push(10 ** power);
    return powers.length > 1 ? powers : [low, high];
  }
  const raw = (high - low || 1) / 5, unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(Number(value.toPrecision(12)));
  return found;
};

// One chart: `lines` holds {name, color, dash, curve: [steps, means, lows?, highs?]}.
const chart = (title, lines) => {
  const finite = (values) => values.filter((value) => typeof value === "number");
  const all = finite(lines.flatMap(({ curve }) => curve.slice(1).flat()));
  const steps = lines.flatMap(({ curve }) => curve[0]);
  let low = Math.min(...all), high = Math.max(...all);
  const log = low > 0 && high / low > 50;
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const first = Math.min(...steps), last = Math.max(...steps);
  const x = (step) => LEFT + ((step - first) / (last - first || 1)) * (WIDTH - LEFT - RIGHT);
  const scale = log ? Math.log : (value) => value;
  const y = (value) => HEIGHT - BOTTOM - ((scale(value) - scale(low)) / (scale(high) - scale(low))) * (HEIGHT - TOP - BOTTOM);
  const path = (xs, ys) => {
    let pen = "M";
    let text = "";
    xs.forEach((step, at) => {
      if (typeof ys[at] !== "number") { pen = "M"; return; } // a value that is not finite leaves a gap
      text += `${pen}${x(step).toFixed(1)} ${y(ys[at]).toFixed(1)}`;
      pen = "L";
    });
    return text;
  };

  const figure = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": `${title} over the steps` });
  figure.append(svg("text", { x: LEFT, y: 14, class: "title" }, title));
  if (!all.length) return figure;
  for (const value of ticks(low, high, log)) {
    figure.append(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "grid-line" }));
    figure.append(svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)));
  }
  for (const step of ticks(first, last, false)) figure.append(svg("text", { x: x(step), y: HEIGHT - 12, "text-anchor": "middle" }, short(step)));
  figure.append(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM, class: "axis" }));
  for (const { name, color, dash, curve } of lines) {
    const [xs, means, lows, highs] = curve;
    if (lows && !lows.concat(highs).some((value) => typeof value !== "number")) {
      const back = path([...xs].reverse(), [...highs].reverse()).replace("M", "L");
      figure.append(svg("path", { d: `${path(xs, lows)}${back}Z`, class: "band", style: `fill: ${color}` }));
    }
    const line = svg("path", { d: path(xs, means), stroke: color, "stroke-dasharray": dash, class: "line" });
    line.append(svg("title", {}, name));
    figure.append(line);
    if (xs.length < 12) {
      xs.forEach((step, at) => {
        if (typeof means[at] === "number") figure.append(svg("circle", { cx: x(step), cy: y(means[at]), r: 2.5, fill: color }));
      });
    }
  }
  return figure;
};
