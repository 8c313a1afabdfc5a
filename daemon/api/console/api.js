// The daemon's API. The token, where one is needed, is kept in this tab alone and goes nowhere but into its header.

const KEPT = "vectord.token";
const base = new URL(".", document.baseURI);

let ask = async () => { throw new Problem(401, "unauthorized", ""); };
let asking = null;

/** An answer that was not hoped for: `reason` is one of docs/api.md's, or "unreachable". */
export class Problem extends Error {
  constructor(status, reason, message) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

/** Who gets a token from the person: a function of whether the last one was wrong, that gives the next. */
export function askBy(asker) {
  ask = asker;
}

export const hasToken = () => sessionStorage.getItem(KEPT) !== null;
export const forgetToken = () => sessionStorage.removeItem(KEPT);

/** A path of the API with values in it, each of them quoted. */
export const path = (parts, ...values) =>
  parts.reduce((whole, part, at) => whole + encodeURIComponent(values[at - 1]) + part);

/** JSON from the API. Raises `Problem`. */
export async function call(where, { method = "GET", query = {}, json, form, signal } = {}) {
  const headers = json === undefined ? {} : { "Content-Type": "application/json" };
  const body = json === undefined ? form : JSON.stringify(json);
  const answer = await reach(where, { method, query, headers, body, signal });
  return answer.json();
}

/** A response that went well. Raises `Problem`. */
export async function reach(where, { query = {}, headers = {}, ...options } = {}) {
  const url = new URL(where, base);
  for (const [name, value] of Object.entries(query)) if (value != null) url.searchParams.set(name, value);
  for (;;) {
    const sent = sessionStorage.getItem(KEPT);
    const answer = await knock(url, { ...options, headers: sent === null ? headers : { ...headers, Authorization: `Bearer ${sent}` } });
    if (answer.ok) return answer;
    if (answer.status !== 401) throw await problem(answer);
    await admitted(sent);
  }
}

async function knock(url, options) {
  try {
    return await fetch(url, { cache: "no-store", credentials: "omit", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "");
  }
}

/** Waits until there is another token than the one that was refused; many may wait for the same question. */
async function admitted(refused) {
  if (sessionStorage.getItem(KEPT) !== refused) return;
  asking ??= ask(refused !== null).then((given) => sessionStorage.setItem(KEPT, given)).finally(() => { asking = null; });
  await asking;
}

async function problem(answer) {
  const body = await answer.json().catch(() => ({}));
  return new Problem(answer.status, body.reason ?? "internal_error", body.message ?? answer.statusText);
}
