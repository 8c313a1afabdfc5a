// Failures: why images have no vector, which ones, and another chance for one or for all of a reason.

import { call } from "./api.js";
import { fill, h, say } from "./dom.js";
import { distance, maybe, moment, number, t } from "./i18n.js";
import { live, now, onChange } from "./live.js";
import { meaning, toast, told } from "./toast.js";

const FEW = 50;
const MOST = 1000;
const PAUSE = 5;

/** What a reason means, in the language of the page. */
export const explained = (reason, explanation = "") => maybe(`reason.${reason}`, explanation);

/** The page, for one reason or all of them. Gives what ends it. */
export function failuresPage(main, reason) {
  const state = { reason, limit: FEW, counts: null, shown: "", due: Infinity, busy: false };
  const reasons = h("section", { class: "reasons", "aria-labelledby": "failures" });
  const images = h("section", { class: "card", id: "failed", "aria-labelledby": "failed-title" });
  const waiting = h("section", { class: "card", id: "waiting", "aria-labelledby": "waiting-title" });
  fill(main, h("div", { class: "head" }, h("h1", { id: "failures" }, t("nav.failures"))), reasons, images, waiting);
  fill(reasons, h("p", { class: "calm" }, t("loading")));
  const control = new AbortController();
  const load = async () => {
    state.busy = true;
    try {
      const query = { limit: state.limit, reason: state.reason };
      const [failed, next] = await Promise.all([
        call("failures", { query, signal: control.signal }), call("waiting", { query: { limit: FEW }, signal: control.signal }),
      ]);
      state.counts = failed.counts;
      state.due = soonest(next.waiting);
      put(reasons, failed.counts, () => reasonCards(state, load));
      put(images, failed, () => failedTable(state, failed.failures, load));
      put(waiting, next.waiting, () => waitingTable(next.waiting, load));
    } catch (error) {
      if (error.name === "AbortError") return;
      state.due = now() + PAUSE;
      if (!state.counts) fill(reasons, h("p", { class: "calm bad", role: "alert" }, meaning(error)));
      else toast(meaning(error), "bad");
    } finally {
      state.busy = false;
    }
  };
  load();
  const end = onChange(() => {
    tick(waiting);
    if (isNews(state)) load();
  });
  return () => {
    end();
    control.abort();
  };
}

/** Whether the stream tells of something new, or it is time to look again. Without a database there is nothing to ask. */
function isNews(state) {
  const seen = live.connected && live.snapshot?.database;
  if (!seen || state.busy) return false;
  const known = JSON.stringify([seen.dead, seen.waiting]);
  const changed = state.shown !== "" && known !== state.shown;
  state.shown = known;
  return changed || now() > state.due;
}

/** When the first of them has had its try: an image that fails anew leaves their number as it was. */
const soonest = (waiting) =>
  Math.max(now() + PAUSE, 1 + Math.min(...waiting.map((one) => Date.parse(one.next_try) / 1000)));

/** Puts an answer into its place, and leaves alone what says it already: somebody may read it, or stand on a button. */
function put(place, answer, made) {
  const said = JSON.stringify(answer);
  if (place.said !== said) fill(place, made());
  place.said = said;
}

/** How long it takes until the next tries, told anew as time goes by. */
function tick(waiting) {
  for (const when of waiting.querySelectorAll("time")) say(when, until(when.dateTime));
}

const until = (when) => distance(Math.max(Date.parse(when) / 1000, now()), now());

function reasonCards(state, load) {
  const found = Object.entries(state.counts).sort(([, one], [, other]) => other - one);
  if (!found.length) return [h("p", { class: "calm" }, t("failures.none"))];
  return found.map(([reason, count]) => h("article", { class: "card reason", "data-reason": reason, "data-chosen": reason === state.reason ? "" : null },
    h("a", { class: "cover", href: reason === state.reason ? "#/failures" : `#/failures/${encodeURIComponent(reason)}`, "aria-current": reason === state.reason ? "true" : null },
      h("span", { class: "count" }, number(count)), h("span", { class: "code" }, reason)),
    h("p", {}, explained(reason)),
    h("button", { type: "button", class: "quiet", onclick: (event) => retry(event, { reason }, load) }, t("failures.retry.all", { count }))));
}

function failedTable(state, failures, load) {
  const total = state.reason ? state.counts[state.reason] ?? 0 : Object.values(state.counts).reduce((sum, one) => sum + one, 0);
  const title = h("h2", { id: "failed-title" }, state.reason ? t("failures.of", { reason: state.reason }) : t("failures.all"));
  if (!failures.length) return [title, h("p", { class: "none" }, t("failures.nothing"))];
  const more = failures.length < total && state.limit < MOST;
  return [
    h("div", { class: "head" }, title, h("p", { class: "note" }, t("failures.shown", { shown: failures.length, total }))),
    table("failed-title", ["image", "reason", "attempts", "failed_at", "location", ""], failures.map((one) => row(one, h("time", { datetime: one.failed_at ?? "" }, one.failed_at ? moment(one.failed_at) : "–"), t("failures.retry"), load))),
    more ? h("button", { type: "button", class: "quiet more", onclick: () => { state.limit = MOST; load(); } }, t("failures.more")) : null,
  ];
}

function waitingTable(waiting, load) {
  const title = h("h2", { id: "waiting-title" }, t("failures.waiting"));
  if (!waiting.length) return [title, h("p", { class: "none" }, t("failures.waiting.none"))];
  return [title, table("waiting-title", ["image", "reason", "attempts", "next_try", "location", ""], waiting.map((one) => {
    const when = h("time", { datetime: one.next_try, title: moment(one.next_try) }, until(one.next_try));
    return row(one, when, t("failures.retry.now"), load);
  }))];
}

function table(labelled, columns, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-labelledby": labelled }, h("table", { class: "stacks" },
    h("thead", {}, h("tr", {}, columns.map((name) => (name ? h("th", { scope: "col" }, t(`failures.column.${name}`)) : h("td", {}))))),
    h("tbody", {}, rows)));
}

function row(one, when, action, load) {
  return h("tr", { "data-image": one.image_id },
    h("th", { scope: "row" }, h("a", { href: `#/image/${encodeURIComponent(one.image_id)}` }, one.image_id)),
    h("td", { class: "why" }, h("span", { class: "code", title: explained(one.reason, one.explanation) }, one.reason), one.detail ? h("span", { class: "detail" }, one.detail) : null),
    h("td", { class: "number", "data-name": t("failures.column.attempts") }, number(one.attempts)),
    h("td", {}, when),
    h("td", { class: "location" }, one.location),
    h("td", { class: "act" }, h("button", { type: "button", class: "quiet", "aria-label": `${action}: ${one.image_id}`, onclick: (event) => retry(event, { image_id: one.image_id }, load) }, action)));
}

/** Asks for another chance, and says how many got one. */
export async function retry(event, what, after) {
  const button = event.currentTarget;
  button.disabled = true;
  await told(async () => {
    const { retried } = await call("retry", { method: "POST", json: what });
    toast(t("failures.retried", { count: retried }));
  });
  button.disabled = false;
  await after();
}
