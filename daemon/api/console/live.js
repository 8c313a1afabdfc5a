// The daemon's snapshots as they come, and the last hour's points. When the stream breaks it is taken up again.

import { reach } from "./api.js";

const SILENCE = 10_000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5_000;
const HIDDEN = 60_000;
const MOST_POINTS = 720;

/** What is known: the last snapshot, the points of the charts, whether the stream is up, and the daemon's clock. */
export const live = { snapshot: null, points: [], connected: false, behind: 0 };

const hearers = new Set();
let connection = null;
let sleeping = null;

/** Has a function called after each change; gives the one that ends that. */
export function onChange(hear) {
  hearers.add(hear);
  return () => hearers.delete(hear);
}

/** The daemon's clock, in seconds of the epoch. */
export const now = () => Date.now() / 1000 - live.behind;

/** Listens for as long as the page is open. */
export async function listen() {
  document.addEventListener("visibilitychange", rest);
  for (let pause = FIRST_PAUSE; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
    connection = new AbortController();
    try {
      await follow(connection, () => { pause = FIRST_PAUSE; });
    } catch (error) {
      if (error.reason === "too_busy") pause = LONGEST_PAUSE;
    }
    if (live.connected) tell(() => { live.connected = false; });
    await awake();
    await new Promise((go) => setTimeout(go, pause * (0.75 + Math.random() / 2)));
  }
}

async function follow(control, came) {
  let watchdog = setTimeout(() => control.abort(), SILENCE);
  try {
    const answer = await reach("events", { signal: control.signal });
    let fresh = true;
    for await (const snapshot of messages(answer.body)) {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => control.abort(), SILENCE);
      take(snapshot, fresh);
      fresh = false;
      came();
    }
  } finally {
    clearTimeout(watchdog);
  }
}

/** The events of a stream; each is a few lines, and ends with an empty one. */
async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (data.length) yield JSON.parse(data.join("\n"));
    }
  }
}

/** The first snapshot of a connection has all points; the others have those that are new. */
function take(snapshot, fresh) {
  tell(() => {
    live.points = (fresh ? [] : live.points).concat(snapshot.points).slice(-MOST_POINTS);
    live.snapshot = snapshot;
    live.connected = true;
    live.behind = Date.now() / 1000 - snapshot.now;
  });
}

function tell(change) {
  change();
  for (const hear of [...hearers]) hear(live);
}

/** A page that nobody looks at lets go of its stream after a while, and takes it up when it is looked at again. */
function rest() {
  clearTimeout(sleeping);
  if (document.hidden) sleeping = setTimeout(() => connection?.abort(), HIDDEN);
}

function awake() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((go) => document.addEventListener("visibilitychange", go, { once: true }));
}
