// The panel with the chosen class's styles: thumbnails, random, draw anew, sliders, copy and paste.
import { draw } from "./api.js";
import { byId, el, swatch } from "./dom.js";
import { encodeIds } from "./png.js";

const IDLE = 400; // ms without a stroke, after which thumbnails are drawn ...
const MOST_FOR_THUMBNAILS = 1000; // ... unless a picture takes longer than this

export class StylePanel {
  constructor(editor, say) {
    Object.assign(this, { editor, say });
    this.panel = byId("style-panel");
    this.panel.hidden = !editor.model.features;
    if (this.panel.hidden) return;
    byId("style-photo").addEventListener("click", () => this.take(editor.stylesOf(editor.source)[editor.currentName]));
    byId("style-random").addEventListener("click", () => this.random());
    byId("style-anew").addEventListener("click", () => this.anew());
    byId("style-copy").addEventListener("click", () => this.copy());
    byId("style-paste").addEventListener("click", () => this.take(editor.clipboard));
    for (const element of document.querySelectorAll(".vae")) element.hidden = !editor.model.features.vae;
    for (const name of ["class", "opened"]) editor.addEventListener(name, () => this.show());
    editor.addEventListener("drawn", () => this.drawMissing(editor.currentName));
    editor.addEventListener("stroke", () => (this.round += 1)); // the picture goes first
    this.round = 0; // of drawing thumbnails; an older one stops
    for (const name of ["styles", "stroke"]) editor.addEventListener(name, () => this.mark());
  }

  take(style) {
    if (style) this.editor.choose({ [this.editor.currentName]: style });
  }

  /** A style of the class at random, unlike the one it has; where none were found, numbers within what the data shows. */
  random() {
    const { editor } = this;
    const { styles, range } = editor.styleList[editor.currentName];
    const now = editor.styleOf(editor.currentName);
    const others = styles.filter((style) => String(style.centre) !== String(now.vector));
    if (editor.model.features.vae) return this.take({ vector: range.map(() => normal()), from: "random" });
    const within = ([low, high]) => low + Math.random() * (high - low);
    if (!others.length) return this.take({ vector: range.map(within), from: "random" });
    const style = others[Math.floor(Math.random() * others.length)];
    return this.take({ vector: style.centre, from: `random: style ${style.number}` });
  }

  /** A step of a random walk that keeps N(0, I): strength 1 forgets the style, 0 keeps it. */
  anew() {
    const strength = Number(byId("style-strength").value);
    const { vector } = this.editor.styleOf(this.editor.currentName);
    const moved = vector.map((value) => Math.sqrt(1 - strength ** 2) * value + strength * normal());
    this.take({ vector: moved, from: `drawn anew, strength ${strength}` });
  }

  copy() {
    const { editor } = this;
    const of = editor.currentName;
    editor.clipboard = { ...editor.styleOf(of), from: `copied from ${of}`, of };
    this.say(`Copied the style of ${editor.currentName}; choose another class and paste it`);
    this.mark();
  }

  // showing

  show() {
    const { editor } = this;
    if (!editor.ids) return;
    const name = editor.currentName;
    byId("style-class").replaceChildren(swatch(editor.byId.get(editor.current).color), name);
    const known = editor.styleList[name] ?? { styles: [], range: [] };
    byId("style-sheet").replaceChildren(...known.styles.map((style) => this.thumbnail(name, style)));
    byId("style-none").hidden = known.styles.length > 0;
    byId("style-sliders").replaceChildren(...known.range.map((range, i) => this.slider(name, range, i)));
    this.mark();
    this.drawMissing(name);
  }

  thumbnail(name, style) {
    const share = style.share === null ? "" : `, ${Math.round(100 * style.share)} % of the data`;
    const button = el("button", { type: "button", className: "style", "aria-label": `${name}: style ${style.number}${share}`,
      title: `style ${style.number}${share}` });
    if (style.thumbnail) button.append(el("img", { src: style.thumbnail, alt: "", loading: "lazy" }));
    button.append(el("span", { textContent: style.number }));
    button.dataset.vector = style.centre;
    button.addEventListener("click", () => this.take({ vector: style.centre, from: `style ${style.number}` }));
    return button;
  }

  slider(name, [low, high], i) {
    const { editor } = this;
    const input = el("input", { type: "range", min: low, max: high, step: (high - low) / 200 || 0.01, id: `feature-${i}` });
    let before = null;
    input.addEventListener("input", () => {
      before ??= editor.styles;
      const vector = [...editor.styleOf(name).vector];
      vector[i] = Number(input.value);
      editor.styles = { ...editor.styles, [name]: { vector, from: "by its sliders" } };
      editor.edited("stroke");
    });
    input.addEventListener("change", () => {
      if (before) editor.choose({}, before);
      before = null;
    });
    return el("label", { for: input.id }, `number ${i + 1}`, input);
  }

  mark() {
    const { editor } = this;
    const name = editor.currentName;
    const { vector, from } = editor.styleOf(name);
    const absent = editor.ids.includes(editor.current) ? "" : " (not in the map)";
    byId("style-from").textContent = from + absent;
    byId("style-photo").disabled = !editor.source.features?.[name];
    byId("style-paste").disabled = !editor.clipboard;
    byId("style-paste").textContent = editor.clipboard ? `Paste ${editor.clipboard.of}` : "Paste";
    for (const button of byId("style-sheet").children) {
      button.setAttribute("aria-pressed", button.dataset.vector === String(vector));
    }
    for (const [i, label] of [...byId("style-sliders").children].entries()) {
      const input = label.querySelector("input");
      if (document.activeElement !== input) input.value = vector[i];
    }
  }

  /** Without a style sheet, draw this face in each style of the class, one after the other, while nothing else is drawn. */
  async drawMissing(name) {
    const { editor } = this;
    const round = (this.round += 1);
    await new Promise((resolve) => setTimeout(resolve, IDLE));
    if (round !== this.round) return;
    const buttons = [...byId("style-sheet").children].filter((button) => !button.querySelector("img, canvas"));
    if (!buttons.length || !editor.ids.includes(editor.current)) return;
    try {
      const label = await encodeIds(editor.ids, editor.width, editor.height);
      for (const button of buttons) {
        if (round !== this.round || isSlow()) return;
        const styles = { ...editor.vectors(), [name]: button.dataset.vector.split(",").map(Number) };
        const bitmap = await createImageBitmap((await draw(label, styles)).blob);
        if (round === this.round) button.prepend(closeUp(bitmap, editor));
      }
    } catch {
      // the numbers will do; the picture itself says what is wrong
    }
  }
}

/** The picture around the chosen class: all of it, or for a small region a square of a third of the side or more. */
function closeUp(bitmap, { ids, width, height, current }) {
  const places = [...ids.keys()].filter((i) => ids[i] === current);
  const x = places.map((i) => i % width);
  const y = places.map((i) => Math.floor(i / width));
  const [left, right, top, bottom] = [least(x), -least(x.map((v) => -v)), least(y), -least(y.map((v) => -v))];
  const whole = Math.min(width, height);
  const reach = Math.max(right - left, bottom - top) + 1;
  const side = reach > whole / 3 ? whole : Math.max(2 * reach, Math.round(whole / 3));
  const start = (from, to, most) => Math.round(Math.min(most - side, Math.max(0, (from + to - side) / 2)));
  const canvas = el("canvas", { width: 72, height: 72 });
  canvas.getContext("2d").drawImage(bitmap, start(left, right, width), start(top, bottom, height), side, side, 0, 0, 72, 72);
  return canvas;
}

const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);

/** Whether pictures take so long that thumbnails would keep the next stroke waiting. */
function isSlow() {
  const lately = performance.getEntriesByName("stroke to picture").slice(-5).map((entry) => entry.duration);
  return lately.length > 0 && least(lately) > MOST_FOR_THUMBNAILS;
}

/** A draw from N(0, 1). */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}
