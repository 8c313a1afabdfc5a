// A vector as a picture: a square for each number, the colour of the page for the large ones.

import { colour } from "./dom.js";

const COLUMNS = 64;
const SQUARE = 8;

/** Draws it, and again when the theme changes; `point` hears the place under the cursor, null for none. */
export function drawVector(canvas, values, point) {
  const rows = Math.ceil(values.length / COLUMNS);
  canvas.width = COLUMNS * SQUARE;
  canvas.height = rows * SQUARE;
  paint(canvas, values);
  const again = () => (canvas.isConnected ? paint(canvas, values) : document.removeEventListener("theme", again));
  document.addEventListener("theme", again);
  canvas.addEventListener("pointermove", (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - left) / width) * COLUMNS);
    const at = Math.floor(((event.clientY - top) / height) * rows) * COLUMNS + column;
    point(at in values ? at : null);
  });
  canvas.addEventListener("pointerleave", () => point(null));
  point(null);
}

function paint(canvas, values) {
  const [accent, warn] = [colour(canvas, "accent"), colour(canvas, "warn")];
  const pen = canvas.getContext("2d");
  const largest = Math.max(...values.map(Math.abs)) || 1;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  values.forEach((value, at) => {
    pen.fillStyle = value < 0 ? warn : accent;
    // The root brings out the many small ones.
    pen.globalAlpha = 0.06 + 0.94 * Math.sqrt(Math.abs(value) / largest);
    pen.fillRect((at % COLUMNS) * SQUARE, Math.floor(at / COLUMNS) * SQUARE, SQUARE - 1, SQUARE - 1);
  });
}
