// The console: language, theme, the way from address to page, and the keys.

import { askBy, forgetToken, hasToken } from "./api.js";
import { askToken } from "./door.js";
import { fill, h, icon, say } from "./dom.js";
import { failuresPage } from "./failures.js";
import { choose, languages, number, speak, spoken, t } from "./i18n.js";
import { imagePage } from "./image.js";
import { listen, live, onChange } from "./live.js";
import { lookPage } from "./look.js";
import { nowPage } from "./now.js";
import { sentence } from "./state.js";

const PAGES = { now: nowPage, failures: failuresPage, look: lookPage, image: imagePage };
const TABS = ["now", "failures", "look"];
const THEMES = ["system", "light", "dark"];
const KEPT_THEME = "vectord.theme";
const main = document.getElementById("main");

let leave = () => {};

/** The address after the #, as a page and its argument. */
function place() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  if (!Object.hasOwn(PAGES, name) || (name === "image" && !rest.length)) return ["now", undefined];
  return [name, rest.length ? decoded(rest.join("/")) : undefined];
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function go() {
  const [name, argument] = place();
  leave();
  leave = PAGES[name](main, argument);
  for (const link of document.querySelectorAll("#nav a")) link.toggleAttribute("aria-current", link.dataset.tab === name);
  for (const link of document.querySelectorAll("#nav a[aria-current]")) link.setAttribute("aria-current", "page");
  titled();
}

function titled() {
  const [name, argument] = place();
  const title = name === "image" ? t("image.title", { id: argument }) : t(`nav.${name}`);
  document.title = `${title} · vectord`;
}

function theme(chosen) {
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  localStorage.setItem(KEPT_THEME, chosen);
  document.dispatchEvent(new Event("theme"));
}

function themeButton() {
  const kept = localStorage.getItem(KEPT_THEME);
  let at = Math.max(0, THEMES.indexOf(kept));
  const button = h("button", { type: "button", class: "tool", id: "theme", onclick: () => { at = (at + 1) % THEMES.length; show(); } });
  const show = () => {
    theme(THEMES[at]);
    fill(button, icon(THEMES[at]));
    button.setAttribute("aria-label", t("tool.theme", { theme: t(`theme.${THEMES[at]}`) }));
    button.title = button.getAttribute("aria-label");
  };
  show();
  return button;
}

function languageButton() {
  const others = Object.entries(languages()).filter(([code]) => code !== spoken());
  return others.map(([code, name]) => h("button", { type: "button", class: "tool words", id: "language", lang: code, onclick: async () => {
    choose(code);
    await speak(code);
    frame();
    go();
  } }, name));
}

function leaveButton() {
  if (!hasToken()) return null;
  const forget = () => {
    forgetToken();
    location.reload();
  };
  return h("button", { type: "button", class: "tool", id: "forget", title: t("tool.forget"), "aria-label": t("tool.forget"), onclick: forget }, icon("leave"));
}

/** What stands around every page. */
function frame() {
  const badge = h("span", { class: "badge", id: "badge", hidden: true });
  say(document.getElementById("skip"), t("skip"));
  document.getElementById("nav").setAttribute("aria-label", t("nav.label"));
  fill(document.getElementById("nav"), TABS.map((name, at) =>
    h("a", { href: `#/${name}`, "data-tab": name, "aria-keyshortcuts": String(at + 1) }, icon(name), h("span", {}, t(`nav.${name}`)), name === "failures" ? badge : null)));
  fill(document.getElementById("tools"), h("span", { class: "dot", id: "pulse" }), languageButton(), themeButton(), leaveButton());
}

/** The dot in the corner, the number on the tab, and a word to those who hear the page when something is new. */
function keepUp() {
  const { tone, text } = sentence(live);
  const pulse = document.getElementById("pulse");
  pulse.dataset.tone = tone;
  pulse.title = text;
  const seen = live.connected ? live.snapshot?.database : null;
  const failed = seen ? Object.values(seen.dead).reduce((sum, one) => sum + one.number, 0) : 0;
  const badge = document.getElementById("badge");
  badge.hidden = !failed;
  if (failed) {
    say(badge, number(failed));
    badge.setAttribute("aria-label", t("nav.failed", { count: failed }));
  }
  const kind = live.connected ? live.snapshot.health.state : "lost";
  const announcer = document.getElementById("announcer");
  if (announcer.dataset.kind !== kind) {
    announcer.dataset.kind = kind;
    say(announcer, text);
  }
  if (hasToken() && !document.getElementById("forget")) document.getElementById("tools").append(leaveButton());
}

/** 1, 2 and 3 go to the pages, / to the question; never while somebody types. */
function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
  const tab = TABS[Number(event.key) - 1];
  if (tab) location.hash = `#/${tab}`;
  else if (event.key === "/") {
    event.preventDefault();
    if (!place()[0].startsWith("look")) location.hash = "#/look";
    setTimeout(() => document.getElementById("question")?.focus());
  }
}

await speak();
frame();
askBy(askToken);
addEventListener("hashchange", () => {
  go();
  scrollTo(0, 0);
  if (document.activeElement === document.body) main.focus({ preventScroll: true });
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("keydown", press);
// A picture that misses the place for it must not take the page's place.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
onChange(keepUp);
go();
listen();
