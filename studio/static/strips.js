// Rows of pictures to choose from: styles, templates, the history.

// The style strip: one radio button a picture.
export class Styles {
  constructor(strip, name, styles, choose) {
    Object.assign(this, { strip, name, choose, chosen: null, known: new Map() });
    for (const style of styles) this.add(style, false);
  }

  add({ id, name }, first, address = `/api/styles/${id}`) {
    if (this.known.has(id)) return;
    const label = document.createElement("label");
    label.className = "thumb";
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "style", value: id });
    input.setAttribute("aria-label", name);
    input.addEventListener("change", () => this.pick(id));
    const image = Object.assign(new Image(), { src: address, alt: "", loading: "lazy", draggable: false });
    label.title = name;
    label.append(input, image);
    first ? this.strip.prepend(label) : this.strip.append(label);
    this.known.set(id, { input, name, address, label });
  }

  pick(id, quiet = false) {
    const style = this.known.get(id);
    if (!style) return false;
    style.input.checked = true;
    style.label.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.chosen = id;
    this.name.textContent = style.name;
    if (!quiet) this.choose(id);
    return true;
  }

  get address() {
    return this.known.get(this.chosen)?.address;
  }
}

// Masks to begin with, drawn in the class colours; ids come when the dialog opens for the first time.
export async function fillTemplates(list, templates, { width, height }, colours, load, choose) {
  if (list.children.length) return;
  for (const { id, name, chinese } of templates) {
    const button = document.createElement("button");
    button.type = "button";
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const text = document.createElement("span");
    text.textContent = name;
    const zh = Object.assign(document.createElement("span"), { textContent: chinese, lang: "zh" });
    button.append(canvas, text, zh);
    list.append(button);
    load(id).then((ids) => {
      drawIds(canvas, ids, colours);
      button.addEventListener("click", () => choose(ids, name));
    });
  }
}

export function drawIds(canvas, ids, colours) {
  const image = new ImageData(canvas.width, canvas.height);
  ids.forEach((id, i) => image.data.set([...colours[id], 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// The history strip, the newest first.
export class History {
  constructor(strip, hint, choose) {
    Object.assign(this, { strip, hint, choose, ids: new Set() });
  }

  add(entry, first = true) {
    if (this.ids.has(entry.id)) return;
    this.ids.add(entry.id);
    const button = Object.assign(document.createElement("button"), { type: "button", className: "thumb" });
    const image = Object.assign(new Image(), { src: `/api/results/${entry.id}.jpg`, alt: "", draggable: false });
    image.addEventListener("error", () => button.remove()); // the server keeps the newest only
    const { asked } = entry;
    button.title = `seed ${asked.seed} · ${asked.preset}${entry.kept ? "" : " · live"}`;
    button.setAttribute("aria-label", `result ${entry.id}, seed ${asked.seed}`);
    button.append(image);
    button.addEventListener("click", () => this.choose(entry));
    first ? this.strip.prepend(button) : this.strip.append(button);
    while (this.strip.children.length > 96) this.strip.lastChild.remove();
    this.hint.textContent = "choose one to go on from it";
  }
}
