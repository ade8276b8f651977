// The list of classes: pick one to paint with, search by its English or Chinese name, see how much of the mask it covers.

export class Palette {
  // list, search: elements; classes: of the server, the most used first; pick(id): somebody chose.
  constructor(list, search, classes, pick) {
    this.classes = classes;
    this.rows = new Map();
    for (const { id, name, chinese, colour } of classes) {
      const row = document.createElement("label");
      row.innerHTML = `<input type="radio" name="class" value="${id}"><i></i><span>${name}</span><span lang="zh">${chinese}</span><output></output>`;
      row.querySelector("i").style.background = `rgb(${colour})`;
      row.querySelector("input").addEventListener("change", () => pick(id));
      list.append(row);
      this.rows.set(id, row);
    }
    this.none = document.createElement("p");
    this.none.textContent = "no such class";
    this.none.hidden = true;
    list.append(this.none);
    search.addEventListener("input", () => this.filter(search.value));
    search.addEventListener("keydown", (event) => {
      const first = this.shown()[0];
      if (event.key === "Enter" && first !== undefined) {
        pick(first);
        search.value = "";
        this.filter("");
        search.blur();
      }
      if (event.key === "Escape") {
        search.value = "";
        this.filter("");
        search.blur();
      }
    });
  }

  filter(text) {
    const wanted = text.trim().toLowerCase();
    for (const { id, name, chinese } of this.classes) this.rows.get(id).hidden = !name.includes(wanted) && !chinese.includes(wanted);
    this.none.hidden = this.shown().length > 0;
  }

  shown() {
    return this.classes.map(({ id }) => id).filter((id) => !this.rows.get(id).hidden);
  }

  choose(id) {
    const row = this.rows.get(id);
    row.querySelector("input").checked = true;
    row.scrollIntoView({ block: "nearest" });
  }

  // counts: pixels of every class.
  cover(counts) {
    const all = counts.reduce((sum, count) => sum + count, 0);
    for (const [id, row] of this.rows) {
      const share = (100 * counts[id]) / all;
      row.querySelector("output").textContent = !counts[id] ? "" : share < 1 ? "<1 %" : `${Math.round(share)} %`;
    }
  }
}
