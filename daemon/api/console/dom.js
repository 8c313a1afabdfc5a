// Elements from values. Text is only ever set as text: nothing here, and nothing else in the console, parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("a", { class: "x", href: "#/now", onclick: f }, "text", child)`. Null and false children are left out. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Puts other children into an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** Sets an element's text, and leaves it alone where it says that already. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A colour of app.css as it is just now, by the name of its property. */
export function colour(element, name) {
  element.style.color = `var(--${name})`;
  const found = getComputedStyle(element).color;
  element.style.color = "";
  return found;
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  return fill(element, ...children);
}

const ICONS = {
  now: ["M3 12h4l3-8 4 16 3-8h4"],
  failures: ["M12 4 2.6 20h18.8z", "M12 10v4.5", "M12 17.4v.1"],
  look: ["M11 4.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13z", "m16 16 4.5 4.5"],
  system: ["M4 5h16v11H4z", "M9 20h6"],
  light: ["M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z", "M12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4"],
  dark: ["M20 14.5A8 8 0 0 1 9.5 4 8 8 0 1 0 20 14.5z"],
  leave: ["M14 4h5v16h-5", "M10 8l-4 4 4 4", "M6 12h9"],
  picture: ["M4 5h16v14H4z", "m4 16 5-5 4 4 3-3 4 4", "M15.5 9v.1"],
};

/** A drawing of lines, for the eye alone. */
export function icon(name) {
  const lines = ICONS[name].map((d) => svg("path", { d }));
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, ...lines);
}
