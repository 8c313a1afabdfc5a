// Thumbnails: fetched with the token, kept as blobs for as long as the page is open, the oldest let go of.

import { path, reach } from "./api.js";
import { h, icon } from "./dom.js";
import { maybe, t } from "./i18n.js";

const MOST = 300;
const AT_A_TIME = 6;
const kept = new Map();
const waiting = [];
let busy = 0;

/** An image's picture in a frame; until it is there, and where there is none, a drawing. */
export function thumbnail(id, alt) {
  const frame = h("span", { class: "thumb loading" }, icon("picture"));
  load(id).then(
    (url) => {
      frame.classList.remove("loading");
      frame.replaceChildren(h("img", { src: url, alt, draggable: "false" }));
    },
    (error) => {
      frame.classList.replace("loading", "none");
      frame.title = t("thumb.none", { reason: maybe(`reason.${error.reason}`, error.message || error.reason) });
    },
  );
  return frame;
}

/** A picture that a person gave, framed alike; a drawing where the browser cannot show it. */
export function own(file) {
  const url = URL.createObjectURL(file);
  const frame = h("span", { class: "thumb" });
  const failed = () => {
    URL.revokeObjectURL(url);
    frame.classList.add("none");
    frame.replaceChildren(icon("picture"));
  };
  frame.append(h("img", { src: url, alt: t("look.yours"), onload: () => URL.revokeObjectURL(url), onerror: failed }));
  return frame;
}

function load(id) {
  const known = kept.get(id);
  if (known) return known;
  const made = queued(() => fetched(id));
  kept.set(id, made);
  made.catch(() => kept.delete(id));
  while (kept.size > MOST) {
    const [oldest, url] = kept.entries().next().value;
    kept.delete(oldest);
    url.then(URL.revokeObjectURL, () => {});
  }
  return made;
}

async function fetched(id) {
  const answer = await reach(path`images/${id}/thumbnail`);
  return URL.createObjectURL(await answer.blob());
}

/** A few at a time: browsers give a host six connections, and one of them is the stream's. */
async function queued(work) {
  if (busy >= AT_A_TIME - 1) await new Promise((go) => waiting.push(go));
  busy += 1;
  try {
    return await work();
  } finally {
    busy -= 1;
    waiting.shift()?.();
  }
}
