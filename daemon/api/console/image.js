// One image: how it stands, what happened to it when, and its vector to look at.

import { call, path } from "./api.js";
import { explained, retry } from "./failures.js";
import { fill, h, icon } from "./dom.js";
import { distance, moment, number, percent, t } from "./i18n.js";
import { live, now, onChange } from "./live.js";
import { thumbnail } from "./thumbs.js";
import { meaning } from "./toast.js";
import { drawVector } from "./vector.js";

const PAUSE = 2;

/** The page. Gives what ends it. */
export function imagePage(main, id) {
  const state = { due: Infinity, said: "", busy: false };
  const control = new AbortController();
  const title = h("h1", {}, t("image.title", { id }));
  const body = h("div", { class: "image" });
  fill(main, title, body);
  fill(body, h("p", { class: "calm" }, t("loading")));
  const show = (seen) => {
    // What stands there already is left alone: somebody may read it, or stand on a button.
    const said = JSON.stringify([seen, standing(seen)]);
    if (said !== state.said) {
      const columns = seen.vector ? [[vectorCard(seen, control.signal)], [timeline(seen), facts(seen)]] : [[timeline(seen)], [facts(seen)]];
      fill(body, summary(seen, load), columns.map((cards) => h("div", { class: "column" }, cards)));
    }
    state.said = said;
  };
  const load = async () => {
    state.busy = true;
    try {
      const seen = await call(path`images/${id}`, { signal: control.signal });
      state.due = nextLook(seen);
      show(seen);
    } catch (error) {
      if (error.name === "AbortError") return;
      state.due = passes(error) ? now() + PAUSE : Infinity;
      state.said = "";
      fill(body, h("p", { class: "calm bad", role: "alert" }, meaning(error)));
    } finally {
      state.busy = false;
    }
  };
  load();
  const end = onChange(() => {
    if (live.connected && live.snapshot.database && !state.busy && now() > state.due) load();
  });
  return () => {
    end();
    control.abort();
  };
}

/** Whether there may be an answer a moment later. */
const passes = ({ status }) => status === 0 || status === 429 || status >= 500;

/** When something may have come of its job; never where there is none to wait for. */
function nextLook({ job, vector }) {
  if (job ? job.state === "dead" : vector) return Infinity;
  return Math.max(now(), job ? Date.parse(job.not_before) / 1000 : 0) + PAUSE;
}

/** How it stands: the same cases as the verdict of `why`. */
function standing({ image_id: id, job, vector, signature }) {
  if (job?.state === "dead") return { tone: "bad", text: t("image.dead", { count: job.attempts, reason: job.reason, meaning: explained(job.reason) }) };
  if (job && job.leased_until && Date.parse(job.leased_until) / 1000 > now()) return { tone: "good", text: t("image.leased", { worker: job.worker, attempt: job.attempts }) };
  if (job && Date.parse(job.not_before) / 1000 > now()) return { tone: "warn", text: t("image.waits", { moment: moment(job.not_before), reason: job.reason ?? "", meaning: explained(job.reason) }) };
  if (job) return { tone: "warn", text: t("image.queued") };
  if (!vector) return { tone: "warn", text: t("image.unqueued", { id }) };
  if (vector.present || signature === null) return { tone: "good", text: t("image.done") };
  if (!(vector.model_version ?? "").startsWith("vectord:")) return { tone: "warn", text: t("image.foreign", { version: vector.model_version ?? "–" }) };
  return { tone: "warn", text: t("image.older", { version: vector.model_version }) };
}

function summary(seen, load) {
  const { tone, text } = standing(seen);
  const { image_id: id, job, vector } = seen;
  const again = job && (job.state === "dead" || job.reason);
  return h("section", { class: "card summary", "data-tone": tone },
    job?.state === "dead" ? h("span", { class: "thumb none" }, icon("picture")) : thumbnail(id, t("look.image", { id })),
    h("div", {},
      h("p", { class: "standing", id: "standing" }, h("span", { class: `dot ${tone}` }), text),
      h("p", { class: "location" }, seen.location ?? t("image.nowhere")),
      h("div", { class: "row" },
        vector ? h("a", { class: "button", href: `#/look/${encodeURIComponent(id)}` }, t("image.similar")) : null,
        again ? h("button", { type: "button", onclick: (event) => retry(event, { image_id: id }, load) }, t("failures.retry")) : null)));
}

function timeline({ job, vector }) {
  const moments = [
    [job?.enqueued_at, t("time.enqueued")],
    [job?.failed_at, job && t("time.failed", { reason: job.reason ?? "" })],
    [job?.state === "pending" && job.reason ? job.not_before : null, t("time.next")],
    [job?.leased_until, t("time.leased")],
  ].filter(([when]) => when).sort(([one], [other]) => Date.parse(one) - Date.parse(other));
  // The times of the users' table bear no zone: they are shown as they stand there.
  const stored = [[vector?.created, t("time.created")], [vector?.updated !== vector?.created ? vector?.updated : null, t("time.updated")]].filter(([when]) => when);
  if (!moments.length && !stored.length) return null;
  return h("section", { class: "card", "aria-labelledby": "timeline" }, h("h2", { id: "timeline" }, t("image.timeline")),
    h("ol", { class: "timeline" },
      stored.map(([when, what]) => h("li", {}, h("time", {}, when.replace("T", " ").replace(/\.\d+/, "")), h("span", {}, what))),
      moments.map(([when, what]) => h("li", {}, h("time", { datetime: when, title: distance(Date.parse(when) / 1000, now()) }, moment(when)), h("span", {}, what)))));
}

function vectorCard({ image_id: id }, signal) {
  const canvas = h("canvas", { id: "vector", role: "img", "aria-label": t("loading") });
  const note = h("p", { class: "note" }, t("loading"));
  const element = h("section", { class: "card", "aria-labelledby": "vector-title" }, h("h2", { id: "vector-title" }, t("vector.title")), canvas, note);
  call(path`images/${id}/vector`, { signal }).then(
    ({ feature_vector: values }) => {
      const facts = { count: values.length, least: number(Math.min(...values), 4), most: number(Math.max(...values), 4), zeros: percent(values.filter((value) => value === 0).length / values.length) };
      const said = t("vector.facts", facts);
      canvas.setAttribute("aria-label", said);
      drawVector(canvas, values, (at) => { note.textContent = at === null ? said : t("vector.at", { at, value: number(values[at], 6) }); });
    },
    (error) => { if (error.name !== "AbortError") note.textContent = meaning(error); },
  );
  return element;
}

function facts({ job, vector, signature }) {
  const rows = [
    ["signature", signature, "code"],
    ["version", vector?.model_version, "code"],
    ["state", job && t(`image.state.${job.state}`)],
    ["revision", job && number(job.revision)],
    ["attempts", job && number(job.attempts)],
    ["reason", job?.reason, "code"],
    ["detail", job?.detail],
    ["worker", job?.worker, "code"],
  ].filter(([, value]) => value != null && value !== "");
  return h("section", { class: "card", "aria-labelledby": "facts" }, h("h2", { id: "facts" }, t("image.facts")),
    h("dl", { class: "facts" }, rows.map(([name, value, look]) => h("div", {}, h("dt", {}, t(`image.fact.${name}`)), h("dd", { class: look }, value)))));
}
