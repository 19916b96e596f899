// Bjontegaard deltas, means, and every single measurement.
(function tables() {
  if (!DATA.means) return;
  const codecs = Object.keys(DATA.codecs);

  function fill(table, heads, rows) {
    table.replaceChildren(
      element("thead", {}, element("tr", {}, ...heads.map((h) => element("th", {}, h)))),
      element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map((c) => element("td", {}, c))))));
  }

  function named(codec) {
    return element("span", {}, dot(codec), label(codec));
  }

  function delta(row, metric) {
    if (!row || row.bd_rate === null) {
      return element("span", {}, "–", element("small", { textContent: row && row.refused ? row.refused : "" }));
    }
    const [low, high, share] = row.quality_overlap;
    const digits = Math.min(metric.digits, 3);
    return element("span", {}, `${row.bd_rate > 0 ? "+" : "−"}${Math.abs(row.bd_rate).toFixed(1)} %`,
      element("small", { textContent: `${low.toFixed(digits)}–${high.toFixed(digits)}, ${(100 * share).toFixed(0)} %` }));
  }

  const compared = codecs.filter((c) => DATA.bjontegaard.some((row) => row.codec === c));
  if (compared.length && DATA.bjontegaard.some((row) => row.anchor in DATA.codecs)) {
    fill(byId("delta-table"), ["codec", ...DATA.metrics.map((m) => m.label)], compared.map((codec) => [
      named(codec),
      ...DATA.metrics.map((m) => delta(DATA.bjontegaard.find((r) => r.codec === codec && r.metric === m.name), m)),
    ]));
  } else {
    byId("deltas").remove();
  }

  const columns = [
    ["setting", (r) => r.setting], ["bytes", (r) => Math.round(r.bytes).toLocaleString("en"), (r) => r.bytes],
    ["bpp", (r) => r.bpp.toFixed(4), (r) => r.bpp],
    ...DATA.metrics.map((m) => [m.label, (r) => number(r[m.name], m.digits), (r) => r[m.name]]),
    ["encode", (r) => seconds(r.enc_s), (r) => r.enc_s], ["decode", (r) => seconds(r.dec_s), (r) => r.dec_s],
  ];

  options(byId("mean-codec"), codecs.map((c) => [c, label(c)]));
  function means() {
    const rows = DATA.means.filter((m) => m.codec === byId("mean-codec").value)
      .map((m) => ({ ...m, ...m.metrics }));
    fill(byId("mean-table"), [...columns.map((c) => c[0]), "images"],
      rows.map((row) => [...columns.map((c) => c[1](row)), `${row.images}${row.complete ? "" : " (incomplete)"}`]));
  }
  byId("mean-codec").addEventListener("change", means);
  means();

  const images = [...new Set(DATA.cells.map((c) => c.image))];
  const wide = [["image", (r) => r.image, (r) => r.image], ["codec", (r) => label(r.codec), (r) => r.codec],
    ["setting", (r) => r.setting, (r) => r.bpp], ...columns.slice(1)];
  const order = { column: 0, rising: true };
  options(byId("cell-codec"), [["", "all codecs"], ...codecs.map((c) => [c, label(c)])]);
  options(byId("cell-image"), [["", "all images"], ...images.map((i) => [i, i])]);
  byId("cell-image").value = images[0] || "";
  function cells() {
    const codec = byId("cell-codec").value;
    const image = byId("cell-image").value;
    const key = wide[order.column][2];
    const sign = order.rising ? 1 : -1;
    const rows = DATA.cells.filter((c) => (!codec || c.codec === codec) && (!image || c.image === image))
      .sort((a, b) => sign * (key(a) > key(b) ? 1 : key(a) < key(b) ? -1 : a.bpp - b.bpp));
    const heads = wide.map(([name], i) => {
      const mark = order.column === i ? (order.rising ? " ↑" : " ↓") : "";
      const button = element("button", { type: "button", textContent: name + mark });
      button.addEventListener("click", () => {
        order.rising = order.column === i ? !order.rising : true;
        order.column = i;
        cells();
      });
      return button;
    });
    fill(byId("cell-table"), heads, rows.map((row) => wide.map((c) => c[1](row))));
  }
  byId("cell-codec").addEventListener("change", cells);
  byId("cell-image").addEventListener("change", cells);
  cells();
})();
