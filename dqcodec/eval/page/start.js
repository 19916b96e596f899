"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function number(value, digits) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

function seconds(value) {
  return value < 0.1 ? `${(1000 * value).toPrecision(2)} ms` : `${value.toPrecision(2)} s`;
}

const label = (codec) => (DATA.codecs[codec] ? DATA.codecs[codec].label : codec);

function dot(codec) {
  const node = element("span", { className: "dot" });
  node.style.background = DATA.codecs[codec].colour;
  return node;
}

// A row of buttons of which one is pressed; calls `choose` with the value of the new one.
function chips(container, values, text, choose) {
  const buttons = values.map((value) => {
    const button = element("button", { type: "button", textContent: text(value) });
    button.addEventListener("click", () => select(value));
    return button;
  });
  function select(value) {
    buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(values[i] === value)));
    choose(value);
  }
  container.replaceChildren(...buttons);
  return select;
}

function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value, textContent: text })));
}
