// The options of a painting: what the form shows, what a preset says, what is sent.

export class Settings {
  // find(id): an element of the page; about: of the server; changed(): something is different.
  constructor(find, about, changed) {
    Object.assign(this, { find, presets: about.presets, changed });
    for (const { id, title } of about.presets) find("preset").append(new Option(title, id));
    const most = Math.max(...about.presets.map(({ rounds }) => rounds));
    for (let n = 1; n <= most; n++) {
      const label = document.createElement("label");
      label.innerHTML = `<input type="radio" name="rounds" value="${n}"><span>${n}</span>`;
      find("rounds").append(label);
    }
    find("preset").addEventListener("change", () => this.reset());
    find("defaults").addEventListener("click", () => this.reset());
    find("dice").addEventListener("click", () => this.roll());
    for (const id of ["strength", "guidance"]) find(id).addEventListener("input", () => this.say());
    for (const id of ["strength", "guidance", "colour_transfer", "seed", "rounds", "variations"]) find(id).addEventListener("change", () => changed());
    this.reset();
  }

  get preset() {
    return this.presets.find(({ id }) => id === this.find("preset").value);
  }

  reset() {
    const { find, preset } = this;
    find("strength").value = preset.t_start;
    find("guidance").value = preset.guidance;
    find("colour_transfer").value = preset.colour_transfer;
    find("preset").title = preset.hint;
    for (const input of find("rounds").querySelectorAll("input")) {
      input.disabled = Number(input.value) > preset.rounds;
      input.checked = Number(input.value) === preset.rounds;
    }
    this.say();
    this.changed();
  }

  say() {
    const { find, preset } = this;
    const t = Number(find("strength").value);
    find("strength-shown").textContent = `t = ${t}` + (t === preset.t_start ? "" : t < preset.t_start ? " · nearer the style" : " · freer");
    find("guidance-shown").textContent = Number(find("guidance").value).toFixed(1);
  }

  roll() {
    this.find("seed").value = Math.floor(Math.random() * 1e6);
    this.changed();
  }

  radio(name) {
    return Number(this.find(name).querySelector("input:checked").value);
  }

  // What differs from the preset, and what has to be said anyway.
  value() {
    const { find, preset } = this;
    const unless = (value, own) => (value === own ? null : value);
    return {
      preset: preset.id,
      seed: Math.min(2147483647, Math.max(0, Math.floor(Number(find("seed").value) || 0))),
      strength: unless(Number(find("strength").value), preset.t_start),
      guidance: unless(Number(find("guidance").value), preset.guidance),
      colour_transfer: unless(find("colour_transfer").value, preset.colour_transfer),
      rounds: unless(this.radio("rounds"), preset.rounds),
      variations: this.radio("variations"),
    };
  }

  // The form as it was for a result.
  restore(asked) {
    const { find } = this;
    if (this.presets.some(({ id }) => id === asked.preset)) find("preset").value = asked.preset;
    this.reset();
    find("seed").value = asked.seed;
    for (const id of ["strength", "guidance", "colour_transfer"]) if (asked[id] !== null) find(id).value = asked[id];
    for (const [name, value] of [["rounds", asked.rounds], ["variations", 1]]) {
      const input = find(name).querySelector(`input[value="${value}"]`);
      if (input) input.checked = true;
    }
    this.say();
  }
}
