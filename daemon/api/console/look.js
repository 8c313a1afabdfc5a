// Look: a picture, its address or an image's id, and the nearest images. Each of them is the next question.

import { call, path } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { cosine, t } from "./i18n.js";
import { own, thumbnail } from "./thumbs.js";
import { meaning } from "./toast.js";

const NEAREST = 24;
const WEB = /^https?:\/\//i;

/** A picture or an address that was given: a link cannot hold them, so they are kept for the page that comes next. */
let given = null;

/** The page: asked nothing, or about an image (`id`). Gives what ends it. */
export function lookPage(main, id) {
  const control = new AbortController();
  const found = h("section", { class: "found", "aria-live": "polite", "aria-busy": "false" });
  const ask = (question) => search(found, question, control.signal);
  fill(main, h("h1", {}, t("nav.look")), form(id, ask), found);
  const paste = (event) => {
    const file = [...event.clipboardData.files].find(isPicture);
    if (file) ask({ file });
  };
  document.addEventListener("paste", paste);
  if (id !== undefined) ask({ id });
  else if (given) ask(given);
  else fill(found, h("p", { class: "calm" }, t("look.hint")));
  return () => {
    control.abort();
    document.removeEventListener("paste", paste);
  };
}

const isPicture = (file) => file.type.startsWith("image/") || /\.(avif|bmp|gif|hei[cf]|jpe?g|png|tiff?|webp)$/i.test(file.name);

function form(id, ask) {
  const text = h("input", { id: "question", type: "text", name: "question", autocomplete: "off", spellcheck: "false", enterkeyhint: "search", placeholder: t("look.placeholder"), value: id ?? given?.url ?? "" });
  const file = h("input", { type: "file", id: "file", accept: "image/*", class: "unseen", onchange: () => file.files[0] && ask({ file: file.files[0] }) });
  const element = h("form", { class: "card ask", role: "search", onsubmit: (event) => { event.preventDefault(); submit(text, ask); } },
    h("label", { for: "question" }, t("look.label")),
    h("div", { class: "row" }, text, h("button", { type: "submit" }, t("look.search"))),
    file,
    h("label", { class: "drop", for: "file" }, icon("picture"), h("span", {}, t("look.drop"))));
  dropping(element, (dropped) => ask({ file: dropped }));
  return element;
}

function submit(field, ask) {
  const text = field.value.trim();
  if (!text) field.focus();
  else if (WEB.test(text)) ask({ url: text });
  else if (location.hash === to(text)) ask({ id: text });
  else location.hash = to(text);
}

const to = (id) => `#/look/${encodeURIComponent(id)}`;

function dropping(element, take) {
  const over = (on) => (event) => {
    event.preventDefault();
    element.classList.toggle("over", on);
  };
  element.addEventListener("dragover", over(true));
  element.addEventListener("dragleave", over(false));
  element.addEventListener("drop", (event) => {
    over(false)(event);
    const file = [...event.dataTransfer.files].find(isPicture);
    if (file) take(file);
  });
}

async function search(found, question, signal) {
  if (question.id === undefined) given = question;
  found.setAttribute("aria-busy", "true");
  fill(found, h("p", { class: "calm wait" }, t("look.searching")));
  try {
    const { neighbours } = await nearest(question, signal);
    fill(found, anchor(question), results(neighbours));
  } catch (error) {
    if (error.name === "AbortError") return;
    fill(found, anchor(question), h("p", { class: "calm bad", role: "alert" }, meaning(error)));
  }
  found.setAttribute("aria-busy", "false");
}

function nearest({ id, url, file }, signal) {
  const query = { k: NEAREST };
  if (id !== undefined) return call(path`similar/${id}`, { query, signal });
  if (url !== undefined) return call("similar", { method: "POST", query: { ...query, image_url: url }, signal });
  const upload = new FormData();
  upload.append("file", file);
  return call("similar", { method: "POST", query, form: upload, signal });
}

/** What was asked about. */
function anchor({ id, url, file }) {
  if (id !== undefined) {
    return h("div", { class: "anchor" }, thumbnail(id, t("look.image", { id })),
      h("div", {}, h("p", {}, t("look.near", { what: t("look.image", { id }) })), h("a", { href: `#/image/${encodeURIComponent(id)}` }, t("look.details"))));
  }
  return h("div", { class: "anchor" }, file ? own(file) : h("span", { class: "thumb none" }, icon("picture")),
    h("p", {}, t("look.near", { what: file ? file.name || t("look.yours") : url })));
}

function results(neighbours) {
  if (!neighbours.length) return h("p", { class: "calm" }, t("look.nothing"));
  return h("ol", { class: "grid", onkeydown: walk }, neighbours.map((one) => {
    const similarity = cosine(one.similarity);
    return h("li", {}, h("a", { href: to(one.image_id), class: "hit", "data-image": one.image_id, "aria-label": t("look.hit", { id: one.image_id, similarity }) },
      thumbnail(one.image_id, ""),
      h("span", { class: "under" }, h("span", { class: "id" }, one.image_id), h("span", { class: "similarity", "data-near": one.similarity > 0.985 ? "" : null }, similarity))));
  }));
}

/** The arrow keys go from picture to picture. */
function walk(event) {
  const links = [...event.currentTarget.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  const columns = links.filter((one) => one.offsetTop === links[0].offsetTop).length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (at < 0 || !step || !links[at + step]) return;
  event.preventDefault();
  links[at + step].focus();
}
