// Rate-distortion curves as SVG, drawn for the width at hand, with values under the pointer.
(function curves() {
  if (!DATA.curves || !DATA.rateRange) {
    if (byId("rate-distortion")) byId("rate-distortion").remove();
    return;
  }
  const SVG = "http://www.w3.org/2000/svg";
  const TICKS = [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5];
  const chart = byId("chart");
  const tip = element("div", { className: "tip", hidden: true });
  const hidden = new Set();
  let metric = DATA.metrics.find((m) => DATA.curves[m.name].length) || DATA.metrics[0];
  let drawn = [];
  let marker = null;

  function svg(tag, attributes, ...children) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  function niceTicks(low, high, count) {
    const raw = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((f) => f * power).find((s) => s >= raw);
    const ticks = [];
    for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-9; t += step) ticks.push(t);
    return [ticks, Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (step / power === 2.5 ? 1 : 0))];
  }

  function draw() {
    const width = chart.clientWidth;
    const height = Math.round(Math.min(460, Math.max(300, width * 0.55)));
    const edge = { left: 46, right: 12, top: 12, bottom: 44 };
    const [low, high] = DATA.rateRange;
    const all = DATA.curves[metric.name];
    const visible = all.filter((c) => !hidden.has(c.label));
    const inside = (p) => p[0] >= low && p[0] <= high;
    const scores = (visible.length ? visible : all).flatMap((c) => c.points.filter(inside).map((p) => p[1]));
    if (!scores.length) {
      chart.replaceChildren(element("p", { className: "hint", textContent: "No complete curve in this metric." }));
      return;
    }
    const margin = 0.05 * (Math.max(...scores) - Math.min(...scores) || 1);
    const bottom = Math.min(...scores) - margin;
    const top = Math.max(...scores) + margin;
    const x = (bpp) => edge.left
      + ((width - edge.left - edge.right) * Math.log(bpp / low)) / Math.log(high / low);
    const y = (score) => edge.top + ((height - edge.top - edge.bottom) * (top - score)) / (top - bottom);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img",
      "aria-label": `${metric.label} against bits per pixel` });
    let last = -100;
    for (const t of TICKS.filter((tick) => tick >= low && tick <= high)) {
      picture.append(svg("line", { class: "grid", x1: x(t), x2: x(t), y1: edge.top, y2: height - edge.bottom }));
      if (x(t) - last > 30) {
        picture.append(svg("text", { x: x(t), y: height - edge.bottom + 16, "text-anchor": "middle" }, String(t)));
        last = x(t);
      }
    }
    const [ticks, digits] = niceTicks(bottom, top, height / 60);
    for (const t of ticks) {
      picture.append(
        svg("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: y(t), y2: y(t) }),
        svg("text", { x: edge.left - 7, y: y(t) + 4, "text-anchor": "end" }, t.toFixed(digits)));
    }
    picture.append(svg("text", { x: (edge.left + width) / 2, y: height - 5, "text-anchor": "middle" },
      `bits per pixel · ${metric.label}, ${metric.higher ? "higher" : "lower"} is better`));
    drawn = [];
    for (const curve of [...visible].sort((a, b) => a.strong - b.strong || b.published - a.published)) {
      const points = curve.points.filter(inside);
      picture.append(svg("polyline", { points: points.map((p) => `${x(p[0])},${y(p[1])}`).join(" "), fill: "none",
        stroke: curve.colour, "stroke-width": curve.strong ? 3 : curve.published ? 1.3 : 1.8,
        "stroke-dasharray": curve.published ? "5 4" : "none", "stroke-linejoin": "round" }));
      for (const p of points) {
        picture.append(svg("circle", { cx: x(p[0]), cy: y(p[1]), r: curve.strong ? 4 : curve.published ? 2 : 3,
          fill: curve.colour }));
        drawn.push({ x: x(p[0]), y: y(p[1]), point: p, curve });
      }
    }
    marker = svg("circle", { r: 7, fill: "none", "stroke-width": 2, visibility: "hidden" });
    picture.append(marker);
    picture.addEventListener("pointermove", point);
    picture.addEventListener("pointerdown", point);
    picture.addEventListener("pointerleave", leave);
    chart.replaceChildren(picture, tip);
    tip.hidden = true;
  }

  function point(event) {
    const box = chart.getBoundingClientRect();
    const at = [event.clientX - box.left, event.clientY - box.top];
    const distance = (d) => Math.hypot(d.x - at[0], d.y - at[1]);
    const nearest = drawn.reduce((best, d) => (!best || distance(d) < distance(best) ? d : best), null);
    if (!nearest || distance(nearest) > 40) {
      leave();
      return;
    }
    const { curve, point: p } = nearest;
    marker.setAttribute("cx", nearest.x);
    marker.setAttribute("cy", nearest.y);
    marker.setAttribute("stroke", curve.colour);
    marker.setAttribute("visibility", "visible");
    tip.replaceChildren(element("b", { textContent: curve.label }), element("br"),
      `${p[0].toFixed(4)} bpp · ${metric.label} ${number(p[1], metric.digits)}`);
    if (curve.source) tip.append(element("br"), element("small", { textContent: curve.source }));
    tip.hidden = false;
    tip.style.left = `${Math.max(0, Math.min(nearest.x + 14, box.width - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, nearest.y - tip.offsetHeight - 12)}px`;
  }

  function leave() {
    tip.hidden = true;
    if (marker) marker.setAttribute("visibility", "hidden");
  }

  function legend() {
    byId("legend").replaceChildren(...DATA.curves[metric.name].map((curve) => {
      const line = svg("line", { x1: 0, x2: 24, y1: 4, y2: 4, stroke: curve.colour,
        "stroke-width": curve.strong ? 4 : 2.5, "stroke-dasharray": curve.published ? "5 3" : "none" });
      const button = element("button", { type: "button" }, svg("svg", { viewBox: "0 0 24 8" }, line), curve.label);
      button.setAttribute("aria-pressed", String(!hidden.has(curve.label)));
      button.addEventListener("click", () => {
        if (!hidden.delete(curve.label)) hidden.add(curve.label);
        legend();
        draw();
      });
      return button;
    }));
  }

  chips(byId("curve-metric"), DATA.metrics, (m) => m.label, (chosen) => {
    metric = chosen;
    legend();
    draw();
  })(metric);
  new ResizeObserver(() => {
    const picture = chart.querySelector("svg");
    if (picture && picture.viewBox.baseVal.width !== chart.clientWidth) draw();
  }).observe(chart);
})();
