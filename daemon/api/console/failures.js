// Failures: why images have no vector, which ones, and another chance for one or for all of a reason.

import { call } from "./api.js";
import { fill, h } from "./dom.js";
import { distance, maybe, moment, number, t } from "./i18n.js";
import { live, now, onChange } from "./live.js";
import { toast, told } from "./toast.js";

const FEW = 50;
const MOST = 1000;

/** What a reason means, in the language of the page. */
export const explained = (reason, explanation = "") => maybe(`reason.${reason}`, explanation);

/** The page, for one reason or all of them. Gives what ends it. */
export function failuresPage(main, reason) {
  const state = { reason, limit: FEW, counts: null, shown: "" };
  const reasons = h("section", { class: "reasons", "aria-labelledby": "failures" });
  const images = h("section", { class: "card", id: "failed", "aria-labelledby": "failed-title" });
  const waiting = h("section", { class: "card", id: "waiting", "aria-labelledby": "waiting-title" });
  fill(main, h("div", { class: "head" }, h("h1", { id: "failures" }, t("nav.failures"))), reasons, images, waiting);
  const control = new AbortController();
  const load = () => told(async () => {
    const query = { limit: state.limit, reason: state.reason };
    const [failed, next] = await Promise.all([
      call("failures", { query, signal: control.signal }), call("waiting", { query: { limit: FEW }, signal: control.signal }),
    ]);
    state.counts = failed.counts;
    fill(reasons, reasonCards(state, load));
    fill(images, failedTable(state, failed.failures, load));
    fill(waiting, waitingTable(next.waiting, load));
  });
  load();
  // The stream tells when there is something new; what is being read is not pulled away for a clock's sake.
  const end = onChange(() => {
    const seen = live.snapshot?.database;
    const known = seen && JSON.stringify([seen.dead, seen.waiting]);
    if (known && known !== state.shown) {
      if (state.shown) load();
      state.shown = known;
    }
  });
  return () => {
    end();
    control.abort();
  };
}

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
    const when = h("time", { datetime: one.next_try, title: moment(one.next_try) }, distance(Date.parse(one.next_try) / 1000, now()));
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
    h("td", {}, h("span", { class: "code", title: explained(one.reason, one.explanation) }, one.reason), one.detail ? h("span", { class: "detail" }, one.detail) : null),
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
