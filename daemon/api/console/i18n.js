// The console's words, in the language of the browser or the one that was chosen, and numbers and times as it writes them.

const LANGUAGES = { en: "English", "zh-CN": "简体中文" };
const KEPT = "vectord.language";

let words = {};
let language = "en";
let plural = new Intl.PluralRules("en");

/** Loads the words. Called before anything is shown. */
export async function speak(chosen = kept() ?? preferred()) {
  language = chosen in LANGUAGES ? chosen : "en";
  const answer = await fetch(new URL(`strings/${language}.json`, import.meta.url));
  words = await answer.json();
  plural = new Intl.PluralRules(language);
  document.documentElement.lang = language;
}

export const spoken = () => language;
export const languages = () => LANGUAGES;

export function choose(chosen) {
  localStorage.setItem(KEPT, chosen);
}

/** A text with its values put in. Of several forms, the one for `values.count`. */
export function t(key, values = {}) {
  let text = words[key] ?? key;
  if (typeof text === "object") text = text[plural.select(values.count)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? shown(values[name]) : whole));
}

/** The same where there is such a text, else what is given instead. */
export const maybe = (key, otherwise) => (key in words ? t(key) : otherwise);

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);

/** A cosine, its digits below each other's. */
export const cosine = (value) =>
  new Intl.NumberFormat(language, { minimumFractionDigits: 3, maximumFractionDigits: 3 }).format(value);

/** A few digits, whatever the size: 1,234 and 12.3 and 0.05. */
export const rough = (value) =>
  new Intl.NumberFormat(language, { maximumSignificantDigits: value >= 100 ? 4 : 2 }).format(value);

export const percent = (share, digits = 0) =>
  new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: digits }).format(share);

/** Seconds as people say them: 450 ms, 12 s, 1.7 min, 2.5 h. */
export function duration(seconds) {
  if (seconds < 0.0005) return unit(0, "second");
  if (seconds < 0.9995) return unit(seconds * 1000, "millisecond", seconds < 0.01 ? 1 : 0);
  if (seconds < 90) return unit(seconds, "second", seconds < 10 ? 1 : 0);
  if (seconds < 90 * 60) return unit(seconds / 60, "minute", seconds < 600 ? 1 : 0);
  if (seconds < 36 * 3600) return unit(seconds / 3600, "hour", 1);
  return unit(seconds / 86400, "day", 1);
}

/** A moment, given as a date or as what `Date` reads; the hours of a day are 24, as in the charts. */
export const moment = (when) =>
  new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" }).format(new Date(when));

export const clock = (seconds, withSeconds = false) =>
  new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: withSeconds ? "2-digit" : undefined, hourCycle: "h23" })
    .format(new Date(seconds * 1000));

/** How long ago, or in how long, from another moment; both in seconds of the epoch. */
export function distance(when, now) {
  const seconds = when - now;
  const [size, name] = Math.abs(seconds) < 90 ? [1, "second"] : Math.abs(seconds) < 5400 ? [60, "minute"] : Math.abs(seconds) < 129600 ? [3600, "hour"] : [86400, "day"];
  return new Intl.RelativeTimeFormat(language, { numeric: "always", style: "short" }).format(Math.round(seconds / size), name);
}

function unit(value, name, digits = 0) {
  return new Intl.NumberFormat(language, { style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: digits }).format(value);
}

const shown = (value) => (typeof value === "number" ? number(value) : String(value));
const kept = () => localStorage.getItem(KEPT);

function preferred() {
  const first = (navigator.languages ?? [navigator.language]).find((one) => /^(en|zh)\b/i.test(one)) ?? "en";
  return /^zh/i.test(first) ? "zh-CN" : "en";
}
