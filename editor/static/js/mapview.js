// The canvas with the map: drawing it, zooming and panning, and pointers and keys as calls of the tool.
import { TOOLS } from "./tools.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class MapView {
  constructor(canvas, editor, say) {
    Object.assign(this, { canvas, editor, say, name: "brush", scale: 1, x: 0, y: 0, fitted: true, photo: null });
    this.pointers = new Map(); // of fingers and buttons that are down
    this.cursor = null; // where the pointer or the keys' crosshair is, in pixels of the map
    this.pen = false; // whether the keys hold the tool down
    this.painted = document.createElement("canvas");
    this.colors = new Uint32Array(256).fill(0xff000000);
    for (const { id, color: [red, green, blue] } of editor.model.classes) {
      this.colors[id] = 0xff000000 | (blue << 16) | (green << 8) | red;
    }
    this.listen();
  }

  get tool() {
    return TOOLS[this.name].tool;
  }

  choose(name) {
    this.release();
    this.name = name;
    this.canvas.dataset.tool = name;
    this.render();
  }

  listen() {
    const { canvas, editor } = this;
    canvas.addEventListener("pointerdown", (event) => this.pressed(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.lifted(event));
    canvas.addEventListener("pointerleave", () => {
      if (!this.pointers.size && !this.keyed) this.cursor = null;
      this.render();
    });
    canvas.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.keyPressed(event));
    canvas.addEventListener("blur", () => this.release());
    for (const name of ["map", "settings", "class"]) editor.addEventListener(name, () => this.render());
    editor.addEventListener("opened", () => this.fit());
    new ResizeObserver(() => this.resized()).observe(canvas);
  }

  // the view

  resized() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (this.fitted) this.fit();
    else this.render();
  }

  /** Show the whole map, also when the canvas changes its size, until it is zoomed or panned. */
  fit() {
    const { canvas, editor } = this;
    this.fitted = true;
    if (!editor.ids) return;
    this.scale = Math.min(canvas.clientWidth / editor.width, canvas.clientHeight / editor.height);
    this.x = (canvas.clientWidth - this.scale * editor.width) / 2;
    this.y = (canvas.clientHeight - this.scale * editor.height) / 2;
    this.render();
  }

  zoom(factor, at = { x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2 }) {
    const scale = Math.min(64, Math.max(0.1, this.scale * factor));
    this.x = at.x - ((at.x - this.x) * scale) / this.scale;
    this.y = at.y - ((at.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.render();
  }

  toMap(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left - this.x) / this.scale, y: (event.clientY - box.top - this.y) / this.scale };
  }

  render() {
    if (!this.editor.ids || this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    const { canvas, editor, painted } = this;
    const context = canvas.getContext("2d");
    const ratio = canvas.width / Math.max(1, canvas.clientWidth);
    if (painted.width !== editor.width || painted.height !== editor.height) {
      Object.assign(painted, { width: editor.width, height: editor.height });
    }
    const pixels = new ImageData(editor.width, editor.height);
    const words = new Uint32Array(pixels.data.buffer);
    for (let i = 0; i < words.length; i++) words[i] = this.colors[editor.ids[i]];
    painted.getContext("2d").putImageData(pixels, 0, 0);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.x, ratio * this.y);
    if (this.photo) context.drawImage(this.photo, 0, 0, editor.width, editor.height);
    context.globalAlpha = this.photo ? editor.opacity : 1;
    context.imageSmoothingEnabled = false;
    context.drawImage(painted, 0, 0);
    context.globalAlpha = 1;
    this.paintMarks(context);
  }

  paintMarks(context) {
    const { editor } = this;
    const thin = 1.5 / this.scale;
    const outline = (path) => {
      for (const [color, width] of [["#000", 2 * thin], ["#fff", thin]]) {
        context.strokeStyle = color;
        context.lineWidth = width;
        context.stroke(path);
      }
    };
    if (editor.mirror) {
      const axis = new Path2D();
      axis.moveTo(editor.width / 2, 0);
      axis.lineTo(editor.width / 2, editor.height);
      context.setLineDash([6 * thin, 4 * thin]);
      outline(axis);
      context.setLineDash([]);
    }
    if (this.tool.points) {
      const path = new Path2D();
      this.tool.points.forEach((point) => path.lineTo(point.x, point.y));
      outline(path);
    }
    if (!this.cursor) return;
    const mark = new Path2D();
    if (this.tool.ring) mark.arc(this.cursor.x, this.cursor.y, Math.max(0.5, editor.size / 2), 0, 7);
    if (this.keyed) {
      mark.moveTo(this.cursor.x - 6 * thin, this.cursor.y);
      mark.lineTo(this.cursor.x + 6 * thin, this.cursor.y);
      mark.moveTo(this.cursor.x, this.cursor.y - 6 * thin);
      mark.lineTo(this.cursor.x, this.cursor.y + 6 * thin);
    }
    outline(mark);
  }

  // pointers

  pressed(event) {
    if (!this.editor.ids) return;
    this.canvas.focus({ preventScroll: true });
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.release();
    this.keyed = false;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const point = this.toMap(event);
    this.cursor = point;
    if (this.pointers.size > 1) {
      this.abandon(); // a second finger: this is no stroke, but a pinch
    } else if (event.button === 2) {
      this.editor.select(this.editor.idAt(point.x, point.y));
    } else if (event.button === 1 || this.tool.pans || this.space) {
      this.panning = true;
    } else {
      this.drawing = true;
      this.tool.down(this.editor, point);
    }
  }

  moved(event) {
    const before = this.pointers.get(event.pointerId);
    this.cursor = this.toMap(event);
    this.keyed = false;
    if (before && this.pointers.size > 1) this.pinch(event, before);
    else if (before && this.panning) this.pan(event.clientX - before.x, event.clientY - before.y);
    else if (before && this.drawing) {
      const events = event.getCoalescedEvents?.() ?? [];
      for (const one of events.length ? events : [event]) this.tool.move(this.editor, this.toMap(one));
    } else this.say(this.editor.nameAt(this.cursor.x, this.cursor.y) ?? "");
    if (before) this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.render();
  }

  lifted(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.drawing && event.type === "pointercancel") this.abandon();
    else if (this.drawing) {
      this.drawing = false;
      this.tool.up(this.editor);
    }
    if (!this.pointers.size) this.panning = false;
    if (event.pointerType === "touch") this.cursor = null;
    this.render();
  }

  abandon() {
    if (this.drawing) {
      this.tool.cancel?.();
      this.editor.cancel();
    }
    this.drawing = false;
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
  }

  /** Two fingers: their distance zooms, their middle pans. */
  pinch(event, before) {
    const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    const box = this.canvas.getBoundingClientRect();
    const distance = (at) => Math.hypot(at.x - other.x, at.y - other.y) || 1;
    const now = { x: event.clientX, y: event.clientY };
    this.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    this.zoom(distance(now) / distance(before), { x: (now.x + other.x) / 2 - box.left, y: (now.y + other.y) / 2 - box.top });
  }

  wheeled(event) {
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey || !this.tool.ring) {
      this.zoom(Math.exp(-event.deltaY / 300), { x: event.clientX - box.left, y: event.clientY - box.top });
    } else {
      this.resize(event.deltaY < 0 ? 1 : -1);
    }
  }

  resize(direction) {
    const { size } = this.editor;
    const step = Math.max(1, Math.round(size / 8));
    this.editor.set({ size: Math.min(200, Math.max(1, size + direction * step)) });
  }

  // keys: arrows move a crosshair, Enter holds the tool down and lifts it, as a pointer would

  keyPressed(event) {
    const { editor } = this;
    if (event.ctrlKey || event.metaKey || event.altKey || !editor.ids) return;
    if (event.key in ARROWS) {
      const [dx, dy] = ARROWS[event.key];
      const step = event.shiftKey ? 10 : 1;
      const middle = { x: Math.floor(editor.width / 2) + 0.5, y: Math.floor(editor.height / 2) + 0.5 };
      const at = (this.keyed && this.cursor) || middle;
      const clamp = (value, most) => Math.min(most - 0.5, Math.max(0.5, value));
      this.cursor = { x: clamp(at.x + dx * step, editor.width), y: clamp(at.y + dy * step, editor.height) };
      if (this.tool.pans) this.pan(-dx * step * 4, -dy * step * 4);
      else if (this.pen) this.tool.move(editor, this.cursor);
    } else if (event.key === "Enter") {
      this.cursor ??= { x: editor.width / 2, y: editor.height / 2 };
      if (this.pen) this.release();
      else if (!this.tool.pans) {
        this.pen = true;
        this.tool.down(editor, this.cursor);
      }
    } else if (event.key === "Escape") {
      this.pen = false;
      this.tool.cancel?.();
      editor.cancel();
    } else return;
    this.keyed = true;
    event.preventDefault();
    const where = `${Math.floor(this.cursor?.x ?? 0)}, ${Math.floor(this.cursor?.y ?? 0)}`;
    this.say(`${where}: ${editor.nameAt(this.cursor?.x, this.cursor?.y) ?? ""}${this.pen ? ", painting" : ""}`);
    this.render();
  }

  /** Lift the tool that keys hold down. */
  release() {
    if (this.pen) this.tool.up(this.editor);
    this.pen = false;
  }
}
