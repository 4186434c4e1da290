// The drawn picture: asked for after each change, the newest request wins; before and after; the last ten.
import { draw } from "./api.js";
import { byId, el, onCanvas } from "./dom.js";
import { encodeIds } from "./png.js";

const KEPT = 10;

export class Picture {
  constructor(editor, say) {
    Object.assign(this, { editor, say, shown: null, first: null, blob: null, strip: [], drawings: 0 });
    this.canvas = byId("picture");
    editor.addEventListener("opened", () => this.opened());
    editor.addEventListener("stroke", () => this.request());
    this.canvas.addEventListener("click", (event) => this.clicked(event));
    this.canvas.addEventListener("pointermove", (event) => this.say(editor.nameAt(...this.at(event)) ?? ""));
    const button = byId("before");
    button.addEventListener("pointerdown", () => this.before(true));
    button.addEventListener("keydown", (event) => this.before(event.key === " " || event.key === "Enter"));
    for (const name of ["pointerup", "pointerleave", "keyup", "blur"]) button.addEventListener(name, () => this.before(false));
  }

  opened() {
    this.first = this.shown = this.blob = null;
    this.strip = [];
    this.showStrip();
    this.request();
  }

  /** Ask for the picture of the map and styles as they are now; an older request is given up. */
  async request() {
    const { editor } = this;
    this.pending?.abort();
    const control = (this.pending = new AbortController());
    const state = { ids: editor.ids.slice(), styles: editor.styles, width: editor.width, height: editor.height };
    const begun = performance.now();
    byId("time").textContent = "drawing …";
    this.canvas.setAttribute("aria-busy", "true");
    try {
      const label = await this.labelOf(state);
      const encoded = performance.now();
      const { blob, timing } = await this.drawn(label, control.signal);
      const answered = performance.now();
      const bitmap = await createImageBitmap(blob);
      if (control.signal.aborted) return;
      this.show(bitmap, blob, state);
      const now = performance.now();
      const detail = { encoding: encoded - begun, request: answered - encoded, decoding: now - answered, server: timing };
      performance.measure("stroke to picture", { start: begun, end: now, detail });
      byId("time").textContent = `drawn in ${Math.round(now - begun)} ms`;
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
    } finally {
      if (this.pending === control) this.canvas.removeAttribute("aria-busy");
    }
  }

  /** The map as PNG, which is encoded anew only if it changed. */
  async labelOf({ ids, width, height }) {
    const last = this.encoded;
    const same = last?.width === width && last.ids.length === ids.length && ids.every((id, i) => id === last.ids[i]);
    if (!same) this.encoded = { ids, width, blob: await encodeIds(ids, width, height) };
    return this.encoded.blob;
  }

  /** The server's drawing; while it is busy, asked again, unless a newer request has come. */
  async drawn(label, signal) {
    for (;;) {
      try {
        return await draw(label, this.editor.vectors(), signal);
      } catch (error) {
        if (error.status !== 503 || signal.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1000 * (error.wait || 1)));
        signal.throwIfAborted();
      }
    }
  }

  failed(error) {
    byId("time").textContent = "not drawn";
    this.say(error.message, true);
  }

  show(bitmap, blob, state) {
    this.shown = bitmap;
    this.blob = blob;
    this.first ??= bitmap;
    this.paint(bitmap);
    this.keep({ bitmap, blob, ...state });
    this.drawings += 1;
    this.canvas.dataset.drawn = this.drawings; // how many pictures were shown so far
    this.editor.emit("drawn");
  }

  paint(bitmap) {
    Object.assign(this.canvas, { width: bitmap.width, height: bitmap.height });
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
  }

  before(on) {
    if (this.shown) this.paint(on ? this.first : this.shown);
    byId("picture-title").textContent = on ? "Before" : "Picture";
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const { width, height } = this.editor;
    const scale = Math.min(box.width / width, box.height / height); // object-fit: contain
    return [(event.clientX - box.left - (box.width - scale * width) / 2) / scale,
      (event.clientY - box.top - (box.height - scale * height) / 2) / scale];
  }

  clicked(event) {
    this.editor.select(this.editor.idAt(...this.at(event)));
    byId("style-panel").scrollIntoView({ block: "nearest" });
  }

  // the last ten

  keep(result) {
    this.strip.push(result);
    if (this.strip.length > KEPT) this.strip.shift();
    this.showStrip();
  }

  showStrip() {
    const buttons = this.strip.map((result, i) => {
      const name = `Result ${i + 1} of ${this.strip.length}`;
      const button = el("button", { type: "button", "aria-label": `Go back to ${name.toLowerCase()}`, title: name },
        onCanvas(result.bitmap, 72));
      button.addEventListener("click", () => this.editor.restore(result.ids, result.styles));
      return button;
    });
    byId("strip").replaceChildren(...buttons);
  }
}
