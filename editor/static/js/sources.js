// Where maps and photos come from: files, the gallery, an empty map; and the second photo, whose styles are taken.
import * as api from "./api.js";
import { byId, el } from "./dom.js";
import { decodeIds } from "./png.js";

/** A source of a label map's PNG Blob, and a photo's where there is one; the photo is encoded if the model can. */
export async function sourceOf(model, name, label, photo = null) {
  const map = await decodeIds(label);
  const encoded = photo && model.features?.encoder;
  return { name, ...map, photo, features: encoded ? await api.encode(photo, label) : null };
}

export async function ofGallery(model, item) {
  const [label, photo] = await Promise.all([
    api.getBlob(`/api/gallery/${item.number}/label.png`),
    item.photo ? api.getBlob(`/api/gallery/${item.number}/photo.png`) : null,
  ]);
  return sourceOf(model, item.name, label, photo);
}

export function emptySource(model) {
  const { size, background } = model;
  const ids = new Uint8Array(size * size).fill(background);
  return { name: "empty", ids, width: size, height: size, photo: null, features: null };
}

/** The dialog in which a map or photo is chosen. `use(source)` gets it; title: what for. */
export class OpenDialog {
  constructor(model, gallery, say) {
    Object.assign(this, { model, say });
    this.dialog = byId("open-dialog");
    this.files = { label: byId("open-label"), photo: byId("open-photo") };
    byId("open-gallery").replaceChildren(...gallery.map((item) => this.item(item)));
    byId("open-none").hidden = gallery.length > 0;
    byId("open-files").addEventListener("click", () => this.run(() => this.opened()));
    byId("open-empty").addEventListener("click", () => this.run(async () => emptySource(model)));
    byId("open-align").disabled = !model.parser;
    byId("open-parser").textContent = model.parser
      ? "A photo alone is parsed into a label map."
      : "A photo alone needs a face parser: start edit.py with --parser CHECKPOINT (docs/parsing.md). " +
        "Or choose its label map too.";
  }

  ask(title, use, photosOnly = false) {
    Object.assign(this, { use, photosOnly });
    byId("open-title").textContent = title;
    for (const id of ["open-empty", "open-project-field"]) byId(id).hidden = photosOnly;
    for (const button of byId("open-gallery").children) button.hidden = photosOnly && !button.dataset.photo;
    for (const input of Object.values(this.files)) input.value = "";
    this.told("");
    this.dialog.showModal();
  }

  item(item) {
    const src = `/api/gallery/${item.number}/thumbnail.jpg`;
    const image = el("img", { src, alt: "", loading: "lazy", width: 84, height: 84 });
    const button = el("button", { type: "button", "aria-label": `Open ${item.name}`, title: item.name }, image);
    if (item.photo) button.dataset.photo = "yes";
    button.addEventListener("click", () => this.run(() => ofGallery(this.model, item)));
    return button;
  }

  /** The source of the chosen files. */
  async opened() {
    const label = this.files.label.files[0];
    const photo = this.files.photo.files[0];
    const name = (photo ?? label)?.name.replace(/\.\w+$/, "");
    if (photo && !label) {
      const found = await api.parse(photo, byId("open-align").checked);
      return sourceOf(this.model, name, found.label, found.photo);
    }
    if (!label) throw new Error("Choose a label map, a photo, or both.");
    if (this.photosOnly && !photo) throw new Error("Choose a photo: its styles are what is taken.");
    const ids = await api.readLabel(label);
    return sourceOf(this.model, name, ids, photo ? await api.readPhoto(photo) : null);
  }

  async run(make) {
    this.told("Opening …");
    try {
      const source = await make();
      this.dialog.close();
      await this.use(source);
    } catch (error) {
      this.told(error.message);
    }
  }

  told(text) {
    byId("open-said").textContent = text;
  }
}

/** The second photo: a click on one of its regions, or a button, takes that style. */
export class SecondPhoto {
  constructor(editor, dialog, say) {
    Object.assign(this, { editor, say });
    byId("second").hidden = !editor.model.features?.encoder;
    byId("second-open").addEventListener("click", () =>
      dialog.ask("Bring in a second photo", (source) => this.show(source), true));
    const canvas = byId("second-photo");
    canvas.addEventListener("click", (event) => this.take([this.nameAt(event)]));
    canvas.addEventListener("pointermove", (event) => say(this.nameAt(event) ?? ""));
    const names = editor.model.classes.map((one) => one.name);
    const face = editor.model.face.map((id) => names[id]);
    const parts = [["hair", ["hair"]], ["face", face], ["everything", names]];
    for (const [part, classes] of parts) {
      byId(`take-${part}`).hidden = !classes.some((name) => names.includes(name));
      byId(`take-${part}`).addEventListener("click", () => this.take(classes));
    }
    byId("take-class").addEventListener("click", () => this.take([editor.currentName]));
  }

  async show(source) {
    this.editor.other = source;
    byId("second-parts").hidden = !source;
    if (!source) return;
    const bitmap = await createImageBitmap(source.photo);
    const canvas = byId("second-photo");
    Object.assign(canvas, { width: source.width, height: source.height });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, source.width, source.height);
    canvas.setAttribute("aria-label", `Second photo, ${source.name}: click a region to take its style`);
    this.editor.emit("source");
  }

  nameAt(event) {
    const { other } = this.editor;
    const canvas = byId("second-photo");
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * other.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * other.height);
    return this.editor.byId.get(other.ids[y * other.width + x])?.name;
  }

  take(names) {
    const { editor } = this;
    const { features, name: photo } = editor.other;
    const found = names.filter((name) => features?.[name]);
    if (!found.length) return this.say(`The second photo shows no ${names.join(", ")}`, true);
    editor.choose(Object.fromEntries(found.map((name) => [name, { vector: features[name], from: `of ${photo}` }])));
    const one = editor.model.classes.find((each) => each.name === found[0]);
    if (found.length === 1) editor.select(one.id);
    return this.say(`Took ${found.length > 3 ? `${found.length} classes` : found.join(", ")} of ${photo}`);
  }
}
