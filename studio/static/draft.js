// What a reload must not lose: the mask, its name, the chosen style. Kept by the browser, for this server.

let timer = null;

export function save(ids, name) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    let text = "";
    for (let i = 0; i < ids.data.length; i += 8192) text += String.fromCharCode(...ids.data.subarray(i, i + 8192));
    remember("mask", JSON.stringify({ width: ids.width, height: ids.height, name, data: btoa(text) }));
  }, 100);
}

export function load(width, height, known) {
  try {
    const kept = JSON.parse(recall("mask"));
    const data = Uint8Array.from(atob(kept.data), (letter) => letter.charCodeAt(0));
    return kept.width === width && kept.height === height && data.every((id) => known.has(id)) && data.length === width * height ? { data, name: kept.name } : null;
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(`studio-${key}`, value);
  } catch {
    // a full or forbidden store costs a reload its memory, nothing else
  }
}

export const recall = (key) => localStorage.getItem(`studio-${key}`);
