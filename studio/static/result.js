// The landscape's side of the page: previews while it is painted, the picture, its variations, and the film of how it came to be.

const FILM = 240; // frames kept

export class ResultView {
  // elements: {frames, hint, progress, state, film, filmField}; choose(entry): a variation was chosen.
  constructor(elements, ratio, choose) {
    Object.assign(this, elements, { choose, reel: [], entries: [], chosen: 0 });
    this.frames.style.setProperty("--ratio", ratio);
    this.film.addEventListener("input", () => this.seek(Number(this.film.value)));
    this.film.addEventListener("change", () => this.film.value === this.film.max && this.show(this.entries, this.chosen));
  }

  // count pictures begin; what was there before stays until the first preview.
  begin(count) {
    this.reel = [];
    this.count = count;
    this.filmField.hidden = true;
    this.progress.hidden = false;
    this.bar(0);
    this.say("waiting for the first step");
  }

  bar(share) {
    this.progress.querySelector("i").style.transform = `scaleX(${share})`;
    this.progress.setAttribute("aria-valuenow", Math.round(100 * share));
  }

  say(text) {
    this.state.textContent = text;
  }

  queued(place) {
    this.say(place ? `${place} before this one` : "next in turn");
  }

  step({ done, total, round, rounds, t, seconds, previews }) {
    const left = done > 1 ? ((seconds / done) * (total - done)).toFixed(total - done > 100 ? 0 : 1) : null;
    const text = `round ${round + 1} of ${rounds} · t = ${Math.round(t)}` + (left === null ? "" : ` · ${left} s left`);
    this.bar(done / total);
    this.say(text);
    this.keepFrame(previews, `round ${round + 1} · t = ${Math.round(t)}`);
    this.put(previews, true);
  }

  round({ round, rounds, images }) {
    this.keepFrame(images, `round ${round + 1} of ${rounds}`);
    this.put(images, false);
  }

  // A frame of the film; of long paintings every other one goes when there are too many.
  keepFrame(images, text) {
    this.reel.push({ images, text });
    if (this.reel.length > FILM) this.reel = this.reel.filter((frame, i) => i % 2 || !frame.text.includes("t ="));
  }

  // Pictures in their places. soft: previews are a few pixels, shown smooth.
  put(images, soft) {
    this.hint.hidden = true;
    this.frames.classList.toggle("four", images.length > 1);
    while (this.frames.children.length > images.length) this.frames.lastChild.remove();
    while (this.frames.children.length < images.length) {
      const frame = document.createElement("button");
      frame.type = "button";
      frame.append(new Image());
      const i = this.frames.children.length;
      frame.addEventListener("click", () => this.entries.length > 1 && this.show(this.entries, i));
      this.frames.append(frame);
    }
    images.forEach((address, i) => {
      const frame = this.frames.children[i];
      frame.firstChild.src = address;
      frame.firstChild.alt = soft ? "preview" : "landscape";
      frame.classList.toggle("soft", soft);
      frame.disabled = images.length === 1 || soft;
      frame.setAttribute("aria-label", images.length > 1 ? `variation ${i + 1}` : "landscape");
      frame.classList.remove("chosen");
    });
  }

  // Finished pictures: entries of the server's; the chosen one is what downloads and styles mean.
  show(entries, chosen = 0) {
    Object.assign(this, { entries, chosen });
    this.put(entries.map(({ id }) => `/api/results/${id}.jpg`), false);
    if (entries.length > 1)
      [...this.frames.children].forEach((frame, i) => {
        frame.classList.toggle("chosen", i === chosen);
        frame.setAttribute("aria-pressed", i === chosen);
      });
    if (entries.length) this.choose(entries[chosen]);
  }

  end(entries, seconds) {
    this.progress.hidden = true;
    this.say(entries.length > 1 ? `${seconds.toFixed(1)} s · choose one` : `painted in ${seconds.toFixed(1)} s`);
    this.filmField.hidden = this.reel.length < 2;
    this.film.max = this.film.value = this.reel.length;
    this.show(entries);
  }

  // Nothing became of it: back to what was there.
  stop(text) {
    this.progress.hidden = true;
    this.say(text);
    this.reel = [];
    if (this.entries.length) this.show(this.entries, this.chosen);
    else {
      this.frames.replaceChildren();
      this.hint.hidden = false;
    }
  }

  // A moment of the film; the last one is the finished picture.
  seek(i) {
    if (i >= this.reel.length) return this.show(this.entries, this.chosen);
    const { images, text } = this.reel[i];
    this.put(images, text.includes("t ="));
    this.say(text);
  }

  forget() {
    this.reel = [];
    this.filmField.hidden = true;
  }
}
