// How the daemon is, in words: from a snapshot to a sentence.

import { duration, number, percent, t } from "./i18n.js";

const TONES = { idle: "good", working: "good", starting: "warn", stopping: "warn", waiting: "warn", superseded: "warn", ended: "bad", stalled: "bad" };

/** How it is, in a sentence, and in which colour. */
export function sentence({ snapshot, connected }) {
  if (!snapshot) return { tone: "warn", text: t("state.connecting") };
  if (!connected) return { tone: "bad", text: t("state.lost") };
  const { health, database } = snapshot;
  const tone = TONES[health.state] ?? "warn";
  if (health.state === "waiting") return { tone, text: t("state.waiting", hindrance(health)) };
  if (tone !== "good") return { tone, text: t(`state.${health.state}`) };
  const reprocess = running(database);
  if (reprocess) return { tone, text: reprocessing(reprocess) };
  const pending = database?.pending.number ?? 0;
  if (health.state === "idle" && !pending) return { tone, text: t("state.idle") };
  if (health.state === "idle" && pending === database.waiting) return { tone, text: t("state.retries", { count: pending }) };
  return { tone, text: working(snapshot, pending) };
}

/** The reprocess that goes on, if one does. */
export const running = (database) => (database?.reprocess && database.reprocess.ended_at == null ? database.reprocess : null);

function reprocessing({ share, seconds_left: left }) {
  const done = percent(Math.min(share, 0.99), share < 0.1 ? 1 : 0);
  return left == null ? t("state.reprocessing", { done }) : t("state.reprocessing.left", { done, left: duration(left) });
}

function working({ daemon, rate, database }, pending) {
  const speed = Math.max(rate, database?.writes_a_second ?? 0);
  const values = { count: daemon?.in_flight ?? 0, pending };
  if (!values.count) return t("state.due", { count: pending });
  if (speed < 0.05 || pending <= values.count) return t("state.working", values);
  return t("state.working.left", { ...values, left: duration(pending / speed) });
}

/** For what it waits, out of "waiting: store: PostgreSQL is away". */
function hindrance({ status }) {
  const [, stage, fault] = /^waiting: (\w+): (.*)$/s.exec(status) ?? [null, "load", status];
  return { stage: t(`stage.${stage}`), fault };
}

/** A number from a bounded count or a sample. */
export function figure({ number: value, certainty }) {
  return certainty === "exact" ? number(value) : t(`figure.${certainty}`, { value });
}
