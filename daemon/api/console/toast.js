// Short notes at the page's edge, and the telling of what went wrong.

import { h } from "./dom.js";
import { maybe, t } from "./i18n.js";

const SECONDS = 6;

/** Says something for some seconds, and once where it is said already; a press lets it go at once. */
export function toast(text, tone = "good") {
  const note = h("button", { type: "button", class: `toast ${tone}`, "aria-label": `${text} ${t("toast.close")}` }, text);
  const end = () => note.remove();
  note.addEventListener("click", end);
  const toasts = document.getElementById("toasts");
  for (const same of [...toasts.children].filter((one) => one.textContent === text)) same.remove();
  toasts.append(note);
  setTimeout(end, SECONDS * 1000);
}

/** What a problem means, in a sentence. */
export const meaning = (error) => maybe(`problem.${error.reason}`, null) ?? maybe(`reason.${error.reason}`, null) ?? (error.message || t("problem.internal_error"));

/** Does something, and says so where it went wrong; what was called off is not worth a word. */
export async function told(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") toast(meaning(error), "bad");
    return undefined;
  }
}
