// A project as JSON: the map, the styles, the photos they come from. It is a file to save, and what survives a reload.
import { fromBase64, toBase64 } from "./api.js";
import { decodeIds, encodeIds } from "./png.js";

const FORMAT = "label map editor project";

const packed = new WeakMap(); // sources never change, so each is packed once

export async function toProject(editor, withPhotos = true) {
  const [own, other] = await Promise.all([editor.source, editor.other].map((source) => source && packedSource(source)));
  const shown = (source) => source && (withPhotos ? source : { ...source, photo: null });
  return { format: FORMAT, version: 1, model: editor.model.name, label: await pack(editor.ids, editor.width, editor.height),
    styles: editor.styles, current: editor.current, own: shown(own), other: shown(other) };
}

async function packedSource(source) {
  if (!packed.has(source)) {
    const { name, ids, width, height, photo, features } = source;
    packed.set(source, { name, label: await pack(ids, width, height), photo: photo && (await toBase64(photo)), features });
  }
  return packed.get(source);
}

const pack = async (ids, width, height) => toBase64(await encodeIds(ids, width, height));

/** What `toProject` gave, parsed -> {source, other, ids, styles, current}. Throws an Error that says what is wrong. */
export async function fromProject(project, model) {
  if (project?.format !== FORMAT || project.version !== 1) throw new Error("This is no project file of the editor.");
  const own = await unpacked(project.own);
  const map = await decodeIds(fromBase64(project.label));
  const known = new Set(model.classes.map((one) => one.id));
  const unknown = map.ids.find((id) => !known.has(id));
  if (unknown !== undefined) throw new Error(`The project holds label ${unknown}, which ${model.name} does not know.`);
  if (map.width !== own?.width || map.height !== own?.height) throw new Error("The project's map and source differ in size.");
  const styles = Object.entries(project.styles ?? {}).filter(([, style]) => fits(style?.vector, model));
  const other = await unpacked(project.other);
  for (const source of [own, other]) if (source?.features) source.features = fitting(source.features, model);
  return { source: own, other, ids: map.ids, styles: Object.fromEntries(styles), current: project.current };
}

const fits = (vector, { features }) =>
  Array.isArray(vector) && vector.length === features?.count && vector.every(Number.isFinite);

const fitting = (features, model) => Object.fromEntries(Object.entries(features).filter(([, vector]) => fits(vector, model)));

async function unpacked(source) {
  if (!source) return null;
  const map = await decodeIds(fromBase64(source.label));
  const photo = source.photo ? fromBase64(source.photo) : null;
  return { name: String(source.name), ...map, photo, features: source.features ?? null };
}

/** Keeps unsaved work in local storage, a moment after each change. */
export class Autosave {
  constructor(editor) {
    this.editor = editor;
    this.key = `label map editor: ${editor.model.name}`;
    this.kept = true; // whether the last change is in local storage
    for (const name of ["opened", "stroke", "source"]) editor.addEventListener(name, () => this.soon());
    window.addEventListener("beforeunload", (event) => {
      if (editor.dirty && !this.kept) event.preventDefault();
    });
  }

  soon() {
    this.kept = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.keep(), 150);
  }

  async keep() {
    for (const withPhotos of [true, false]) {
      try {
        const text = JSON.stringify({ ...(await toProject(this.editor, withPhotos)), dirty: this.editor.dirty });
        localStorage.setItem(this.key, text);
        this.kept = true;
        return;
      } catch {
        // too large with its photos, or no local storage: leaving the page then warns
      }
    }
  }

  /** The work that was left, or null. */
  async left() {
    try {
      const text = localStorage.getItem(this.key);
      if (!text) return null;
      const project = JSON.parse(text);
      return { ...(await fromProject(project, this.editor.model)), dirty: project.dirty };
    } catch {
      return null;
    }
  }
}
