// The last hour's charts, drawn by uPlot in the page's colours.

import { colour, h, say } from "./dom.js";
import { clock, duration, rough, t } from "./i18n.js";

/* global uPlot */

const HEIGHT = 168;
const HOUR = 3600;
const LEAST = 300;

/**
 * A chart with its title and legend. `series`: `{ label, colour, values(points, seconds) }`, where the colour is the name
 * of a property in app.css; `show` writes a value, `summary` says all of it in a sentence for those who do not see it,
 * `none` that there is no value at all.
 */
export class Chart {
  constructor({ title, series, show, summary, none, fillFirst = false }) {
    this.options = { title, series, show, summary, none, fillFirst };
    this.figures = series.map(() => h("b", {}, "–"));
    this.when = h("span", { class: "when", title: t("charts.own") });
    this.box = h("div", { class: "plot", role: "img" });
    this.empty = h("p", { class: "none", "aria-hidden": "true", hidden: true }, none ?? "");
    this.element = h("figure", { class: "card chart" },
      h("figcaption", {},
        h("h2", {}, title), this.when,
        h("span", { class: "legend" }, series.map((one, at) =>
          h("span", { class: `key ${one.colour}` }, one.label, " ", this.figures[at])))),
      this.box, this.empty);
    this.points = [];
    this.sized = new ResizeObserver(() => this.resize());
  }

  /** To be called once the element is in the page. */
  start() {
    this.make();
    this.sized.observe(this.box);
  }

  stop() {
    this.sized.disconnect();
    this.plot?.destroy();
  }

  /** Anew, in the colours of another theme. */
  make() {
    const { series, show, fillFirst } = this.options;
    const ink = (name) => colour(this.box, name);
    const axis = { stroke: ink("muted"), font: "11px system-ui, sans-serif", ticks: { show: false }, grid: { stroke: ink("line"), width: 1 } };
    this.plot?.destroy();
    this.plot = new uPlot({
      width: Math.max(this.box.clientWidth, 200),
      height: HEIGHT,
      padding: [10, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.12 : 1] } },
      axes: [
        { ...axis, size: 26, space: 70, values: (_, moments) => moments.map((moment) => clock(moment)) },
        { ...axis, size: 58, space: 32, values: (_, values) => values.map((value) => (value === 0 ? "0" : show(value))) },
      ],
      series: [{}, ...series.map((one, at) => ({
        stroke: ink(one.colour), width: 1.6, points: { show: true, size: 4, filter: alone }, spanGaps: false,
        fill: fillFirst && at === 0 ? ink(`${one.colour}-soft`) : undefined,
      }))],
      hooks: { setCursor: [(plot) => this.point(plot.cursor.idx)] },
    }, this.data(), this.box);
  }

  draw(points, pointSeconds, now) {
    Object.assign(this, { points, pointSeconds, now });
    this.plot?.setData(this.data(), false);
    this.plot?.setScale("x", { min: now - this.span(), max: now });
    if (this.plot?.cursor.idx == null) this.point(null);
    this.box.setAttribute("aria-label", this.options.summary(points));
    this.empty.hidden = points.some((point) => this.options.series.some((one) => one.value(point, pointSeconds) != null));
  }

  /** The hour that is past, or as much of it as the daemon has seen; in seconds. */
  span() {
    const age = this.now - (this.points[0]?.[0] ?? this.now);
    return Math.min(HOUR, Math.max(LEAST, age));
  }

  data() {
    const at = this.points.map(([moment]) => moment);
    return [at, ...this.options.series.map((one) => this.points.map((point) => one.value(point, this.pointSeconds)))];
  }

  /** The legend's figures: those under the cursor, else the last ones. */
  point(index) {
    const point = this.points[index ?? this.points.length - 1];
    if (!point) return;
    say(this.when, index == null ? t("charts.span", { span: duration(this.span()) }) : clock(point[0], true));
    this.options.series.forEach((one, at) => {
      const value = one.value(point, this.pointSeconds);
      say(this.figures[at], value == null ? "–" : this.options.show(value));
    });
  }

  resize() {
    const width = this.box.clientWidth;
    if (this.plot && width && Math.abs(width - this.plot.width) > 1) this.plot.setSize({ width, height: HEIGHT });
  }
}

/** The places of values without a neighbour: no line goes through them, so they are drawn as points. */
function alone(plot, series) {
  const values = plot.data[series];
  return [...values.keys()].filter((at) => values[at] != null && values[at - 1] == null && values[at + 1] == null);
}

/** Images a second, stored and failed. */
export const throughput = () => new Chart({
  title: t("charts.throughput"),
  fillFirst: true,
  show: rough,
  series: [
    { label: t("charts.stored"), colour: "accent", value: ([, stored], seconds) => stored / seconds },
    { label: t("charts.failed"), colour: "bad", value: ([, , dead], seconds) => dead / seconds },
  ],
  summary: (points) => t("charts.throughput.summary", {
    stored: points.reduce((sum, point) => sum + point[1], 0), dead: points.reduce((sum, point) => sum + point[2], 0),
  }),
});

/** Seconds from the making of a job to the commit of its vector. */
export const latency = () => new Chart({
  title: t("charts.latency"),
  none: t("charts.latency.none"),
  show: duration,
  series: [
    { label: t("charts.median"), colour: "accent", value: (point) => point[3] },
    { label: t("charts.slow"), colour: "warn", value: (point) => point[4] },
  ],
  summary: (points) => {
    const last = points.findLast((point) => point[3] != null);
    return last ? t("charts.latency.summary", { median: duration(last[3]), slow: duration(last[4]) }) : t("charts.latency.none");
  },
});
