// Now: one sentence, the figures, the pipeline, the last hour, the daemons and the model.

import { latency, throughput } from "./charts.js";
import { fill, h, say } from "./dom.js";
import { distance, duration, moment, number, rough, t } from "./i18n.js";
import { live, now, onChange } from "./live.js";
import { figure, running, sentence } from "./state.js";

/** The page. Gives what ends it. */
export function nowPage(main) {
  const parts = [hero(), figures(), pipeline(), charts(), daemons(), model()];
  fill(main, h("h1", { class: "unseen" }, t("nav.now")), ...parts.map((part) => part.element));
  parts.forEach((part) => part.start?.());
  const show = () => parts.forEach((part) => part.show(live));
  show();
  const end = onChange(show);
  return () => {
    end();
    parts.forEach((part) => part.stop?.());
  };
}

function hero() {
  const text = h("p", { class: "sentence", id: "sentence" });
  const below = h("p", { class: "below" });
  const bar = h("progress", { max: "1", hidden: true, "aria-label": t("now.reprocess") });
  const element = h("section", { class: "hero", "aria-label": t("now.state") }, h("span", { class: "dot" }), h("div", {}, text, bar, below));
  return {
    element,
    show(state) {
      const said = sentence(state);
      element.dataset.tone = said.tone;
      say(text, said.text);
      const reprocess = state.connected && running(state.snapshot?.database);
      bar.hidden = !reprocess;
      if (reprocess) bar.value = reprocess.share;
      say(below, aside(state));
    },
  };
}

function aside({ snapshot, connected }) {
  if (!snapshot || !connected) return t("state.retrying");
  const said = [t("now.since", { moment: moment(snapshot.began * 1000), count: snapshot.stored })];
  if (snapshot.daemon && !snapshot.database) said.push(t("now.database.away"));
  if (snapshot.daemon?.trained === false) said.push(t("now.untrained"));
  return said.join(" ");
}

function figures() {
  const made = ["backlog", "rate", "images", "failed"].map((name) => {
    const value = h("dd", { id: `figure-${name}` }, "–");
    const note = h("dd", { class: "note" });
    return [name, value, note, h(name === "failed" ? "a" : "div", { class: "card figure", href: name === "failed" ? "#/failures" : null }, h("dl", {}, h("dt", {}, t(`figure.${name}`)), value, note))];
  });
  return {
    element: h("section", { class: "figures", "aria-label": t("now.figures") }, made.map(([, , , card]) => card)),
    show({ snapshot }) {
      for (const [name, value, note, card] of made) {
        const [text, less, tone] = FIGURES[name](snapshot);
        say(value, text);
        say(note, less);
        card.dataset.tone = tone ?? "";
      }
    },
  };
}

const FIGURES = {
  backlog(snapshot) {
    const seen = snapshot?.database;
    if (!seen) return ["–", ""];
    const oldest = seen.oldest == null ? "" : t("figure.oldest", { ago: duration(Math.max(0, now() - seen.oldest)) });
    return [figure(seen.pending), seen.waiting ? t("figure.waiting", { count: seen.waiting }) : oldest];
  },
  rate(snapshot) {
    if (!snapshot) return ["–", ""];
    const all = snapshot.database?.writes_a_second;
    const others = (snapshot.database?.daemons.filter((one) => one.alive).length ?? 0) > 1 && all != null;
    return [t("figure.a_second", { rate: rough(snapshot.rate) }), others ? t("figure.rate.all", { rate: rough(all) }) : t("figure.rate.note")];
  },
  images(snapshot) {
    const seen = snapshot?.database;
    return seen ? [figure(seen.images), t("figure.images.note")] : ["–", ""];
  },
  failed(snapshot) {
    const seen = snapshot?.database;
    if (!seen) return ["–", ""];
    const counts = Object.values(seen.dead);
    const total = counts.reduce((sum, one) => sum + one.number, 0);
    const exact = counts.every((one) => one.certainty === "exact");
    return [figure({ number: total, certainty: exact ? "exact" : "at least" }), total ? t("figure.failed.note", { count: counts.length }) : "", total ? "bad" : ""];
  },
};

function pipeline() {
  const stages = ["queue", "load", "embed", "store"].map((name) => {
    const value = h("span", { class: "count" }, "–");
    const note = h("span", { class: "note" });
    const meter = h("meter", { min: "0", max: "1", value: "0", "aria-label": t(`stage.${name}`) });
    return [name, value, note, meter, h("li", { id: `stage-${name}` }, h("span", { class: "name" }, t(`stage.${name}`)), value, meter, note)];
  });
  const fill_ = h("p", { class: "note" });
  return {
    element: h("section", { class: "card pipeline", "aria-labelledby": "pipeline" }, h("div", { class: "head" }, h("h2", { id: "pipeline" }, t("now.pipeline")), fill_), h("ol", {}, stages.map((parts) => parts.at(-1)))),
    show({ snapshot }) {
      const daemon = snapshot?.daemon;
      say(fill_, daemon ? t("now.in_flight", { number: daemon.in_flight, limit: daemon.limit }) : "");
      for (const [name, value, note, meter, item] of stages) {
        const { count, of, text } = stage(name, snapshot);
        say(value, count == null ? "–" : number(count));
        say(note, text);
        meter.value = of ? Math.min(1, (count ?? 0) / of) : 0;
        item.classList.toggle("busy", Boolean(count));
      }
    },
  };
}

/** What waits before a stage and in it, of how many at most. */
function stage(name, snapshot) {
  const daemon = snapshot?.daemon;
  if (name === "queue") {
    const seen = snapshot?.database;
    return { count: seen?.due, of: seen && Math.max(seen.due, 10 * (daemon?.limit ?? 100)), text: t("stage.queue.note") };
  }
  const seen = daemon?.stages.find((one) => one.stage === name);
  if (!seen) return { count: null, of: 0, text: "" };
  const extra = name === "load" ? ` · ${t("stage.loaders", daemon.loaders)}` : "";
  return { count: seen.waiting + seen.working, of: daemon.limit, text: t("stage.note", seen) + extra };
}

function charts() {
  const all = [throughput(), latency()];
  const redraw = () => all.forEach((chart) => chart.make());
  let drawn = null;
  return {
    element: h("section", { class: "charts", "aria-label": t("now.hour") }, all.map((chart) => chart.element)),
    start() {
      all.forEach((chart) => chart.start());
      document.addEventListener("theme", redraw);
    },
    stop() {
      document.removeEventListener("theme", redraw);
      all.forEach((chart) => chart.stop());
    },
    show({ snapshot, points }) {
      if (!snapshot || drawn === points.at(-1)) return;
      drawn = points.at(-1);
      all.forEach((chart) => chart.draw(points, snapshot.point_seconds, snapshot.now));
    },
  };
}

function daemons() {
  const rows = h("tbody", {});
  return {
    element: h("section", { class: "card", "aria-labelledby": "daemons" }, h("h2", { id: "daemons" }, t("now.daemons")),
      h("div", { class: "scroll", tabindex: "0", role: "group", "aria-labelledby": "daemons" }, h("table", { class: "stacks" },
        h("thead", {}, h("tr", {}, ["name", "pid", "started", "seen", "signature"].map((name) => h("th", { scope: "col" }, t(`daemons.${name}`))))),
        rows))),
    show({ snapshot }) {
      const seen = snapshot?.database?.daemons ?? [];
      const wanted = seen.filter((one) => one.alive || now() - one.seen_at < 3600);
      fill(rows, wanted.length ? wanted.map((one) => daemonRow(one, snapshot.daemon)) : h("tr", {}, h("td", { colspan: "5", class: "none" }, t("daemons.none"))));
    },
  };
}

function daemonRow(seen, self) {
  const mine = seen.worker === self?.worker;
  const left = seen.ended_at == null ? "daemons.gone" : "daemons.ended";
  return h("tr", { class: seen.alive ? null : "gone" },
    h("th", { scope: "row" }, h("span", { class: `dot ${seen.alive ? "good" : ""}` }), seen.host, mine ? h("span", { class: "tag" }, t("daemons.this")) : null, seen.alive ? null : h("span", { class: "tag" }, t(left))),
    ...Object.entries({ pid: String(seen.pid), started: distance(seen.started_at, now()), seen: distance(seen.seen_at, now()) })
      .map(([name, text]) => h("td", { "data-name": t(`daemons.${name}`) }, text)),
    h("td", { class: "code" }, seen.signature));
}

function model() {
  const list = h("dl", { class: "facts" });
  let shown = "";
  return {
    element: h("section", { class: "card", "aria-labelledby": "model" }, h("h2", { id: "model" }, t("now.model")), list),
    show({ snapshot }) {
      const facts = snapshot?.daemon ? modelFacts(snapshot.daemon) : [];
      if (shown === JSON.stringify(facts)) return;
      shown = JSON.stringify(facts);
      fill(list, facts.map(([name, value]) => h("div", {}, h("dt", {}, t(`model.${name}`)), h("dd", { class: name === "signature" ? "code" : null }, value))));
    },
  };
}

function modelFacts({ signature, engine, trained }) {
  const facts = [
    ["signature", signature],
    ["engine", `${engine.backend} ${engine.version}`],
    ["device", engine.device_name ? `${engine.device} · ${engine.device_name}` : engine.device],
    ["precision", engine.precision],
    ["dimension", number(engine.dimension)],
    ["batch", number(engine.batch_limit)],
  ];
  if (!trained) facts.push(["weights", t("model.untrained")]);
  if (engine.fallback) facts.push(["fallback", engine.fallback]);
  if (engine.out_of_memory) facts.push(["out_of_memory", number(engine.out_of_memory)]);
  return facts;
}
