// The mask on the screen: ids coloured for display, zoom, overlay, and the tools of pointer, pen, fingers and keys.

export const TOOLS = ["brush", "eraser", "fill", "lasso", "rectangle", "pick", "pan"];

export class Canvas {
  // element: a <canvas>; ids: Ids; colours: [[r, g, b], ...]; on: {stroke(), pick(id), hover(id)}.
  constructor(element, ids, colours, on) {
    Object.assign(this, { element, ids, on, tool: "brush", size: 8, shape: "round", id: 0, ground: 0 });
    this.lookup = Uint32Array.from(colours, ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r);
    this.context = element.getContext("2d");
    this.picture = new OffscreenCanvas(ids.width, ids.height);
    this.pixels = new ImageData(ids.width, ids.height);
    this.words = new Uint32Array(this.pixels.data.buffer);
    this.view = null; // {scale, x, y}: screen = image * scale + (x, y), in CSS pixels; null: fitted
    this.overlay = null;
    this.opacity = 0.5;
    this.pointers = new Map();
    this.points = []; // of an open lasso
    this.cursor = null; // [x, y] where the pointer or the keyboard is, in pixels of the image
    this.keyboard = false;
    new ResizeObserver(() => this.resize()).observe(element);
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave"])
      element.addEventListener(name, (event) => this[name](event));
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    element.addEventListener("dblclick", () => this.closeLasso());
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    element.addEventListener("keydown", (event) => this.keydown(event));
    element.addEventListener("blur", () => this.leave());
    this.resize();
  }

  // ------------------------------------------------------------------------------------------- drawing

  resize() {
    const box = this.element.getBoundingClientRect();
    const ratio = devicePixelRatio || 1;
    this.element.width = Math.max(1, Math.round(box.width * ratio));
    this.element.height = Math.max(1, Math.round(box.height * ratio));
    this.draw();
  }

  // The view that shows everything.
  fitted() {
    const { clientWidth, clientHeight } = this.element;
    const scale = Math.min(clientWidth / this.ids.width, clientHeight / this.ids.height);
    return { scale, x: (clientWidth - this.ids.width * scale) / 2, y: (clientHeight - this.ids.height * scale) / 2 };
  }

  // Draws with the next frame, once, however often it is called.
  draw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.drawNow();
    });
  }

  drawNow() {
    const { ids, words, lookup, context: c } = this;
    for (let i = 0; i < words.length; i++) words[i] = lookup[ids.data[i]];
    this.picture.getContext("2d").putImageData(this.pixels, 0, 0);
    const ratio = this.element.width / Math.max(1, this.element.clientWidth);
    const { scale, x, y } = this.view ?? this.fitted();
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.element.width, this.element.height);
    c.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    c.imageSmoothingEnabled = false;
    c.drawImage(this.picture, 0, 0);
    if (this.overlay?.complete && this.overlay.naturalWidth) {
      c.imageSmoothingEnabled = true;
      c.imageSmoothingQuality = "high";
      c.globalAlpha = this.opacity;
      c.drawImage(this.overlay, 0, 0, ids.width, ids.height);
      c.globalAlpha = 1;
    }
    this.drawTool(c, scale);
  }

  drawTool(c, scale) {
    const outline = (path) => {
      for (const [colour, width] of [["rgba(0,0,0,.75)", 3], ["#fff", 1.4]]) {
        c.strokeStyle = colour;
        c.lineWidth = width / scale;
        c.stroke(path);
      }
    };
    const path = new Path2D();
    const [x, y] = this.cursor ?? [0, 0];
    if (this.points.length) {
      this.points.forEach((point) => path.lineTo(...point));
      if (this.cursor) path.lineTo(x, y);
      for (const [px, py] of this.points.length < 40 ? this.points : []) path.rect(px - 1.5 / scale, py - 1.5 / scale, 3 / scale, 3 / scale);
    } else if (this.corner) {
      const [x0, y0] = this.corner.map(Math.floor);
      const [x1, y1] = [x, y].map(Math.floor);
      path.rect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0) + 1, Math.abs(y1 - y0) + 1);
    } else if (this.cursor && ["brush", "eraser"].includes(this.tool) && !this.picking) {
      const size = Math.max(1, this.size);
      if (this.shape === "square" || size < 2) path.rect(x - size / 2, y - size / 2, size, size);
      else path.arc(x, y, size / 2, 0, 2 * Math.PI);
    } else if (this.cursor && this.keyboard) path.rect(Math.floor(x), Math.floor(y), 1, 1);
    outline(path);
  }

  // ------------------------------------------------------------------------------------------- zoom

  // Zooms by a factor around a point of the element, the middle where there is none.
  zoom(factor, px = this.element.clientWidth / 2, py = this.element.clientHeight / 2) {
    const fitted = this.fitted();
    const old = this.view ?? fitted;
    const scale = Math.min(Math.max(old.scale * factor, fitted.scale), 64);
    const ratio = scale / old.scale;
    this.view = scale <= fitted.scale * 1.001 ? null : this.inside({ scale, x: px - (px - old.x) * ratio, y: py - (py - old.y) * ratio });
    this.draw();
  }

  pan(dx, dy) {
    if (this.view) this.view = this.inside({ ...this.view, x: this.view.x + dx, y: this.view.y + dy });
    this.draw();
  }

  // A view that does not leave the picture.
  inside({ scale, x, y }) {
    const keep = (value, room, size) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, value)));
    return { scale, x: keep(x, this.element.clientWidth, this.ids.width * scale), y: keep(y, this.element.clientHeight, this.ids.height * scale) };
  }

  fit() {
    this.view = null;
    this.draw();
  }

  wheel(event) {
    event.preventDefault();
    const box = this.element.getBoundingClientRect();
    if (event.ctrlKey || !this.view || !event.shiftKey) this.zoom(Math.exp(-event.deltaY * 0.002), event.clientX - box.left, event.clientY - box.top);
    else this.pan(-event.deltaX, -event.deltaY);
  }

  // ------------------------------------------------------------------------------------------- pointer, pen, fingers

  place(event) {
    const box = this.element.getBoundingClientRect();
    const { scale, x, y } = this.view ?? this.fitted();
    return [(event.clientX - box.left - x) / scale, (event.clientY - box.top - y) / scale];
  }

  pointerdown(event) {
    this.element.setPointerCapture(event.pointerId);
    this.element.focus({ preventScroll: true });
    this.pointers.set(event.pointerId, event);
    this.keyboard = false;
    if (this.pointers.size === 2) return this.startPinch();
    if (this.pointers.size > 2) return;
    this.cursor = this.place(event);
    const erases = event.button === 2 || event.button === 5 || (event.buttons & 32) !== 0;
    if (event.button === 1 || this.tool === "pan" || this.panning) this.stroke = { pan: true };
    else if (event.altKey || this.tool === "pick") this.stroke = { pick: true };
    else this.stroke = { id: erases || this.tool === "eraser" ? this.ground : this.id, tool: erases ? "eraser" : this.tool };
    this.start(event);
  }

  start(event) {
    const { stroke, cursor } = this;
    if (stroke.pick) return this.pick();
    if (stroke.pan) return;
    stroke.last = cursor;
    if (stroke.tool === "lasso") {
      if (!this.points.length) this.lassoId = stroke.id;
      this.points.push(cursor);
    } else if (stroke.tool === "rectangle") this.corner = cursor;
    else {
      this.ids.begin();
      if (stroke.tool === "fill") this.ids.fill(...cursor.map(Math.floor), stroke.id);
      else this.ids.dab(...cursor, this.width(event), this.shape, stroke.id);
    }
    this.draw();
  }

  pointermove(event) {
    const before = this.pointers.get(event.pointerId);
    if (before) this.pointers.set(event.pointerId, event);
    if (this.pinch) return this.movePinch();
    this.cursor = this.place(event);
    this.picking = event.altKey;
    this.on.hover(this.ids.at(...this.cursor.map(Math.floor)));
    const stroke = this.stroke;
    if (before && stroke?.pan) return this.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    if (before && stroke?.pick) return this.pick();
    if (before && stroke)
      for (const part of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
        const [x, y] = this.place(part);
        if (["brush", "eraser"].includes(stroke.tool)) this.ids.line(...stroke.last, x, y, this.width(part), this.shape, stroke.id);
        else if (stroke.tool === "lasso") {
          stroke.drawn ||= Math.hypot(x - stroke.last[0], y - stroke.last[1]) * (this.view ?? this.fitted()).scale > 5;
          if (stroke.drawn) this.points.push([x, y]);
        }
        if (stroke.tool !== "lasso" || stroke.drawn) stroke.last = [x, y];
      }
    this.draw();
  }

  pointerup(event) {
    this.pointers.delete(event.pointerId);
    if (this.pinch) {
      if (!this.pointers.size) this.pinch = null;
      return;
    }
    const { stroke } = this;
    this.stroke = null;
    if (!stroke || stroke.pan || stroke.pick) return;
    if (stroke.tool === "lasso") {
      const [x, y] = this.points[0];
      const near = Math.hypot(x - this.cursor[0], y - this.cursor[1]) * (this.view ?? this.fitted()).scale < 10;
      if (stroke.drawn || (near && this.points.length > 3)) this.closeLasso();
    } else if (stroke.tool === "rectangle") this.closeRectangle(stroke.id);
    else this.finish();
    if (event.pointerType === "touch" && !this.points.length) this.cursor = null;
    this.draw();
  }

  pointercancel(event) {
    this.pointers.delete(event.pointerId);
    this.abandon();
    if (!this.pointers.size) this.pinch = null;
  }

  pointerleave(event) {
    if (!this.pointers.has(event.pointerId)) this.leave();
  }

  leave() {
    if (!this.points.length) this.cursor = null;
    this.on.hover(-1);
    this.draw();
  }

  // How wide a dab is: a pen's pressure counts.
  width(event) {
    return event.pointerType === "pen" && event.pressure > 0 ? Math.max(1, this.size * (0.25 + 0.75 * event.pressure)) : this.size;
  }

  // The second finger: what the first one began is undone.
  startPinch() {
    this.abandon();
    const [a, b] = [...this.pointers.values()];
    this.pinch = { x: (a.clientX + b.clientX) / 2, y: (a.clientY + b.clientY) / 2, apart: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) };
  }

  movePinch() {
    if (this.pointers.size !== 2) return;
    const old = this.pinch;
    this.startPinch();
    const box = this.element.getBoundingClientRect();
    this.zoom(this.pinch.apart / Math.max(1, old.apart), this.pinch.x - box.left, this.pinch.y - box.top);
    this.pan(this.pinch.x - old.x, this.pinch.y - old.y);
  }

  // ------------------------------------------------------------------------------------------- ends of strokes

  finish() {
    if (this.ids.commit()) this.on.stroke();
    this.draw();
  }

  pick() {
    const id = this.ids.at(...this.cursor.map(Math.floor));
    if (id >= 0) this.on.pick(id);
  }

  closeLasso() {
    if (this.points.length > 2) {
      this.ids.begin();
      this.ids.polygon(this.points, this.lassoId);
      this.points = [];
      this.finish();
    }
    this.points = [];
    this.draw();
  }

  closeRectangle(id) {
    this.ids.begin();
    this.ids.rectangle(...this.corner, ...this.cursor, id);
    this.corner = null;
    this.finish();
  }

  // Gives up what is begun and not finished; says whether there was anything.
  abandon() {
    const had = this.points.length > 0 || this.corner || this.stroke;
    this.ids.cancel();
    this.points = [];
    this.corner = this.stroke = null;
    this.draw();
    return Boolean(had);
  }

  // ------------------------------------------------------------------------------------------- keyboard

  keydown(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (moves && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      const far = event.shiftKey ? 8 : 1;
      const [x, y] = this.cursor ?? [this.ids.width / 2, this.ids.height / 2];
      const within = (value, most) => Math.min(most - 0.5, Math.max(0.5, Math.floor(value) + 0.5));
      this.cursor = [within(x + moves[0] * far, this.ids.width), within(y + moves[1] * far, this.ids.height)];
      this.keyboard = true;
      this.on.hover(this.ids.at(...this.cursor.map(Math.floor)));
      this.draw();
    } else if (event.key === " " && this.keyboard && this.cursor) {
      event.preventDefault();
      event.stopPropagation();
      this.press();
    } else if (event.key === "Enter") this.closeLasso();
    else if (event.key === "Backspace" && this.points.length) {
      this.points.pop();
      this.draw();
    }
  }

  // The tool at the keyboard's cursor.
  press() {
    const id = this.tool === "eraser" ? this.ground : this.id;
    if (this.tool === "rectangle" && this.corner) return this.closeRectangle(id);
    if (this.tool === "pan") return;
    this.stroke = this.tool === "pick" ? { pick: true } : { id, tool: this.tool };
    this.start({});
    this.stroke = null;
    if (["brush", "eraser", "fill"].includes(this.tool)) this.finish();
  }
}
