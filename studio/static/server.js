// Everything that is said to the server.

// The answer as JSON, bytes or nothing; an Error with the server's own line where it refuses.
async function ask(path, options = {}, as = "json") {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer; is it still running?");
  }
  if (!answer.ok) {
    const found = await answer.json().catch(() => ({}));
    throw new Error(found.error || `the server answered ${answer.status}`);
  }
  return as === "bytes" ? new Uint8Array(await answer.arrayBuffer()) : answer.json();
}

// Files are measured here too: a server that stops reading cannot say why.
const limits = { photo: 2e7, mask: 4e6 };

async function send(path, blob, most, as) {
  if (blob.size > most) throw new Error(`the file has ${(blob.size / 1e6).toFixed(1)} MB, expected at most ${most / 1e6}`);
  return ask(path, { method: "POST", headers: { "Content-Type": blob.type }, body: blob }, as);
}

export async function about() {
  const found = await ask("/api/studio");
  Object.assign(limits, found.limits);
  return found;
}
export const template = (id) => ask(`/api/templates/${id}`, {}, "bytes");
export const openMask = (blob) => send("/api/masks", blob, limits.mask, "bytes");
export const segment = (blob) => send("/api/segment", blob, limits.photo, "bytes");
export const addStyle = (blob) => send("/api/styles", blob, limits.photo);
export const keep = (id) => ask(`/api/results/${id}/keep`, { method: "POST" });
export const cancel = (id) => ask(`/api/jobs/${id}`, { method: "DELETE" });
export const resultMask = async (id) => (await fetch(`/api/results/${id}.png`)).blob();
export const picture = (id) => `/api/results/${id}.jpg`;
export const stylePicture = (id) => `/api/styles/${id}`;

export async function paint(mask, options) {
  const bytes = new Uint8Array(await mask.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  const body = JSON.stringify({ ...options, mask: btoa(text) });
  return (await ask("/api/jobs", { method: "POST", headers: { "Content-Type": "application/json" }, body })).id;
}

// Calls on(kind, data) for every event of a painting until it ends; returns a function that stops listening.
export function watch(id, on) {
  const source = new EventSource(`/api/jobs/${id}/events`);
  let failures = 0;
  for (const kind of ["queued", "started", "step", "round", "done", "failed", "cancelled"])
    source.addEventListener(kind, (event) => {
      failures = 0;
      if (["done", "failed", "cancelled"].includes(kind)) source.close();
      on(kind, JSON.parse(event.data));
    });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED || ++failures > 5) {
      source.close();
      on("failed", { error: "the server does not answer; is it still running?" });
    }
  });
  return () => source.close();
}
