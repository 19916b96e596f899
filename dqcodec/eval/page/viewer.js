// The before/after slider: two layers of the same crop, the left one clipped at --pos.
(function viewer() {
  const views = DATA.views;
  if (!views.length) {
    byId("look").remove();
    return;
  }
  const ORIGINAL = "original";
  const stage = byId("stage");
  const unique = (list) => [...new Set(list)];
  const images = unique(views.map((v) => v.image));
  const rates = unique(views.map((v) => v.bpp));
  const state = { image: images[0], bpp: rates[0], left: ORIGINAL, right: ORIGINAL };
  const view = () => views.find((v) => v.image === state.image && v.bpp === state.bpp);
  const find = (codec) => view().entries.find((e) => e.codec === codec);
  const astray = (entry) => Math.abs(Math.log(entry.bpp / state.bpp)) > Math.log(1.1);

  function facts(list, entry) {
    const pairs = entry
      ? [["", `${entry.bpp.toFixed(3)} bpp`], ["", `${entry.bytes.toLocaleString("en")} B`],
        ...DATA.metrics.slice(0, 1).map((m) => [m.label, number(entry[m.name], m.digits)])]
      : [["", "uncompressed"]];
    list.replaceChildren(...pairs.map(([term, text]) =>
      element("div", {}, ...(term ? [element("dt", { textContent: term })] : []), element("dd", { textContent: text }))));
  }

  function show() {
    const current = view();
    stage.style.aspectRatio = `${current.width} / ${current.height}`;
    stage.style.maxWidth = `${Math.round(Math.min(944, (820 * current.width) / current.height))}px`;
    for (const side of ["left", "right"]) {
      const entry = find(state[side]);
      if (!entry) state[side] = ORIGINAL;
      const picture = byId(`${side}-image`);
      picture.src = entry ? entry.src : current.original;
      picture.alt = `${state.image}, ${entry ? label(state[side]) : "original"}`;
      byId(`${side}-codec`).value = state[side];
      facts(byId(`${side}-facts`), entry);
    }
    for (const button of byId("strip").children) {
      button.setAttribute("aria-pressed", String(button.value === state.right));
    }
  }

  function fill() {
    const entries = view().entries;
    const choices = [[ORIGINAL, "original"], ...entries.map((e) => [e.codec, label(e.codec)])];
    options(byId("left-codec"), choices);
    options(byId("right-codec"), choices);
    const first = DATA.metrics[0];
    byId("strip").replaceChildren(...entries.map((entry) => {
      const button = element("button", { type: "button", value: entry.codec },
        element("img", { src: entry.src, alt: label(entry.codec) }),
        element("b", { textContent: label(entry.codec) }),
        element("small", { textContent: `${entry.bpp.toFixed(3)} bpp`, className: astray(entry) ? "off" : "" }));
      if (first) button.append(element("small", { textContent: `${first.short} ${number(entry[first.name], 3)}` }));
      button.addEventListener("click", () => { state.right = entry.codec; show(); });
      return button;
    }));
    table(entries);
    show();
  }

  function table(entries) {
    const heads = ["codec", "setting", "bytes", "bpp", ...DATA.metrics.map((m) => m.label), "encode", "decode"];
    const rows = entries.map((e) => element("tr", {},
      element("td", {}, dot(e.codec), label(e.codec)),
      ...[e.setting, e.bytes.toLocaleString("en")].map((text) => element("td", { textContent: text })),
      element("td", { textContent: e.bpp.toFixed(4), className: astray(e) ? "off" : "" }),
      ...DATA.metrics.map((m) => element("td", { textContent: number(e[m.name], m.digits) })),
      ...[e.enc_s, e.dec_s].map((s) => element("td", { textContent: seconds(s) }))));
    byId("view-table").replaceChildren(
      element("thead", {}, element("tr", {}, ...heads.map((h) => element("th", { textContent: h })))),
      element("tbody", {}, ...rows));
  }

  function place(share) {
    const clamped = Math.min(1, Math.max(0, share));
    stage.style.setProperty("--pos", `${100 * clamped}%`);
    byId("slider").value = Math.round(1000 * clamped);
  }

  function drag(event) {
    const box = stage.getBoundingClientRect();
    place((event.clientX - box.left) / box.width);
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (event.buttons || event.pointerType === "touch") drag(event);
  });
  stage.addEventListener("dblclick", (event) => {
    const [x, y] = drag(event);
    stage.style.setProperty("--x", `${100 * x}%`);
    stage.style.setProperty("--y", `${100 * y}%`);
  });
  byId("slider").addEventListener("input", (event) => place(event.target.value / 1000));
  for (const side of ["left", "right"]) {
    byId(`${side}-codec`).addEventListener("change", (event) => { state[side] = event.target.value; show(); });
  }

  const names = Object.keys(DATA.codecs);
  const own = names.find((n) => n.startsWith("dqcodec"));
  state.left = own || ORIGINAL;
  state.right = names.includes("avif") ? "avif" : names.find((n) => n !== own) || ORIGINAL;
  chips(byId("view-zoom"), [1, 2, 4], (z) => `${z}×`, (zoom) => {
    stage.style.setProperty("--zoom", zoom);
    for (const side of ["left", "right"]) {
      byId(`${side}-image`).style.imageRendering = zoom > 1 ? "pixelated" : "auto";
    }
  })(1);
  const pickImage = chips(byId("view-images"), images, (i) => i, (image) => { state.image = image; fill(); });
  const pickRate = chips(byId("view-rates"), rates, (r) => `${r} bpp`, (bpp) => { state.bpp = bpp; fill(); });
  byId("view-images").hidden = images.length < 2;
  byId("view-rates").hidden = rates.length < 2;
  pickImage(state.image);
  pickRate(state.bpp);
})();
