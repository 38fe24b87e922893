// Elements, made in one expression. Text is always text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

export const at = (id) => document.getElementById(id);

export function html(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

// For who hears the page, and needs in words what others see.
export const unseen = (text) => html("span", { class: "hidden" }, text);

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

// Writes only what is different, so that a live region speaks, and the page is laid out, only when something changed.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}
