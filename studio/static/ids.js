// A mask as an array of class ids, one byte a pixel, and everything that changes it. Nothing here knows of the screen.
// No tool blends: a pixel holds the one class or the other.

const STEPS = 100; // undo

export class Ids {
  constructor(width, height, id = 0) {
    this.width = width;
    this.height = height;
    this.data = new Uint8Array(width * height).fill(id);
    this.past = [];
    this.future = [];
    this.before = null;
  }

  // A change between begin() and commit() is one step of undo; commit() says whether anything is different.
  begin() {
    this.before = this.data.slice();
  }

  commit() {
    const before = this.before;
    this.before = null;
    if (!before || before.every((id, i) => id === this.data[i])) return false;
    this.past.push(before);
    if (this.past.length > STEPS) this.past.shift();
    this.future = [];
    return true;
  }

  cancel() {
    if (this.before) this.data.set(this.before);
    this.before = null;
  }

  undo() {
    return this.swap(this.past, this.future);
  }

  redo() {
    return this.swap(this.future, this.past);
  }

  swap(from, to) {
    if (!from.length || this.before) return false;
    to.push(this.data.slice());
    this.data.set(from.pop());
    return true;
  }

  // Other ids of the same size as one step.
  replace(data) {
    this.begin();
    this.data.set(data);
    return this.commit();
  }

  at(x, y) {
    return x >= 0 && y >= 0 && x < this.width && y < this.height ? this.data[y * this.width + x] : -1;
  }

  row(y, left, right, id) {
    if (y < 0 || y >= this.height) return;
    left = Math.max(0, left);
    right = Math.min(this.width, right);
    if (left < right) this.data.fill(id, y * this.width + left, y * this.width + right);
  }

  // One dab of a brush around a point (pixels, fractions allowed): every pixel whose centre lies in it, at least one.
  dab(x, y, size, shape, id) {
    const r = size / 2;
    if (size <= 1) return this.row(Math.floor(y), Math.floor(x), Math.floor(x) + 1, id);
    for (let row = Math.ceil(y - r - 0.5); row + 0.5 <= y + r; row++) {
      const dy = row + 0.5 - y;
      const half = shape === "square" ? r : Math.sqrt(Math.max(0, r * r - dy * dy));
      this.row(row, Math.ceil(x - half - 0.5), Math.floor(x + half - 0.5) + 1, id);
    }
  }

  // Dabs from one point to another, close enough to leave no gaps.
  line(x0, y0, x1, y1, size, shape, id) {
    const steps = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / Math.max(0.5, size / 6)));
    for (let i = 1; i <= steps; i++) this.dab(x0 + ((x1 - x0) * i) / steps, y0 + ((y1 - y0) * i) / steps, size, shape, id);
  }

  // Everything of one class that hangs together with a pixel.
  fill(x, y, id) {
    const old = this.at(x, y);
    if (old < 0 || old === id) return;
    const { data, width, height } = this;
    const stack = [y * width + x];
    while (stack.length) {
      const start = stack.pop();
      if (data[start] !== old) continue;
      const row = start - (start % width);
      let left = start;
      let right = start;
      while (left > row && data[left - 1] === old) left--;
      while (right < row + width - 1 && data[right + 1] === old) right++;
      data.fill(id, left, right + 1);
      for (const next of [-width, width]) {
        if (row + next < 0 || row + next >= width * height) continue;
        for (let i = left; i <= right; i++)
          if (data[i + next] === old && (i === left || data[i + next - 1] !== old)) stack.push(i + next);
      }
    }
  }

  rectangle(x0, y0, x1, y1, id) {
    const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)].map(Math.floor);
    for (let y = Math.floor(Math.min(y0, y1)); y <= Math.floor(Math.max(y0, y1)); y++) this.row(y, left, right + 1, id);
  }

  // The pixels whose centres lie in a polygon [[x, y], ...], by the even-odd rule.
  polygon(points, id) {
    for (let y = 0; y < this.height; y++) {
      const cuts = [];
      points.forEach(([x0, y0], i) => {
        const [x1, y1] = points[(i + 1) % points.length];
        const c = y + 0.5;
        if (y0 <= c !== y1 <= c) cuts.push(x0 + ((c - y0) / (y1 - y0)) * (x1 - x0));
      });
      cuts.sort((a, b) => a - b);
      for (let i = 0; i + 1 < cuts.length; i += 2) this.row(y, Math.ceil(cuts[i] - 0.5), Math.ceil(cuts[i + 1] - 0.5), id);
    }
  }

  // How many pixels every class has.
  counts(classes) {
    const found = new Array(classes).fill(0);
    for (const id of this.data) found[id]++;
    return found;
  }
}
