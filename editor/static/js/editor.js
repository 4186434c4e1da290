// The state: the map, the styles, the photo they come from, the chosen class; and what may change it.
// Events: opened, map, stroke, styles, class, settings, dirty.
import { History } from "./history.js";

export class Editor extends EventTarget {
  constructor(model, styleList) {
    super();
    this.model = model;
    this.styleList = styleList;
    this.byId = new Map(model.classes.map((one) => [one.id, one]));
    this.partner = new Map(model.flip_pairs.flatMap(([a, b]) => [[a, b], [b, a]]));
    this.history = new History();
    this.current = model.classes.find((one) => one.name === "hair")?.id ?? model.classes.at(-1).id;
    this.locked = new Set(); // ids that are not painted over
    this.mirror = false;
    this.size = 24; // of the brush, in pixels of the map
    this.opacity = 1; // of the map over the photo
    this.clipboard = null; // a copied style
    this.other = null; // the second photo: like `source`
    this.dirty = false;
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** Begin with a source: {name, ids, width, height, photo: Blob or null, features: {class: numbers} or null}, and styles. */
  open(source, styles = null, ids = null) {
    this.source = source;
    this.width = source.width;
    this.height = source.height;
    this.ids = (ids ?? source.ids).slice();
    this.styles = styles ?? this.stylesOf(source);
    this.history.clear();
    this.size = Math.min(this.size, Math.max(this.width, this.height));
    this.setDirty(false);
    this.emit("opened");
    this.emit("class");
  }

  stylesOf(source) {
    const styled = Object.entries(source.features ?? {}).map(([name, vector]) => [name, { vector, from: "as in the photo" }]);
    return Object.fromEntries(styled);
  }

  // painting

  /** Begin a change of the map: what `put` does can be taken back as one step. */
  begin() {
    this.before = this.ids.slice();
  }

  /** Paint one pixel, and with mirror drawing its mirror image; locked classes stay. */
  put(index, id) {
    if (!this.locked.has(this.before[index])) this.ids[index] = id;
    if (!this.mirror) return;
    const x = index % this.width;
    const other = index - x + (this.width - 1 - x);
    if (!this.locked.has(this.before[other])) this.ids[other] = this.partner.get(id) ?? id;
  }

  changed() {
    this.emit("map");
  }

  /** End a change; the picture is drawn anew if anything changed. */
  commit() {
    const before = this.before;
    this.before = null;
    const changed = this.history.add({ ids: before, styles: this.styles }, { ids: this.ids, styles: this.styles }, this.width);
    this.emit("map");
    if (changed) this.edited("stroke");
    return changed;
  }

  /** Take back a change that is going on. */
  cancel() {
    if (this.before) this.ids = this.before;
    this.before = null;
    this.emit("map");
  }

  undo() {
    if (!this.before) this.step(this.history.undo(this.ids, this.width));
  }

  redo() {
    if (!this.before) this.step(this.history.redo(this.ids, this.width));
  }

  step(found) {
    if (!found) return;
    if (found.styles) this.styles = found.styles;
    this.emit("map");
    this.emit("styles");
    this.edited("stroke");
  }

  /** Go to other ids and styles, as a step that can be taken back. */
  restore(ids, styles) {
    const before = { ids: this.ids, styles: this.styles };
    this.ids = ids.slice();
    this.styles = styles;
    this.history.add(before, { ids: this.ids, styles }, this.width);
    this.emit("map");
    this.emit("styles");
    this.edited("stroke");
  }

  edited(event) {
    this.setDirty(true);
    this.emit(event);
  }

  setDirty(dirty) {
    this.dirty = dirty;
    this.emit("dirty");
  }

  // classes

  select(id) {
    if (!this.byId.has(id)) return;
    this.current = id;
    this.emit("class");
  }

  get currentName() {
    return this.byId.get(this.current).name;
  }

  nameAt(x, y) {
    return this.byId.get(this.idAt(x, y))?.name;
  }

  idAt(x, y) {
    const inside = x >= 0 && y >= 0 && x < this.width && y < this.height;
    return inside ? this.ids[Math.floor(y) * this.width + Math.floor(x)] : undefined;
  }

  set(settings) {
    Object.assign(this, settings);
    this.emit("settings");
  }

  // styles

  /** The style of a class: what was chosen, else the commonest of its class. */
  styleOf(name) {
    if (this.styles[name]) return this.styles[name];
    const first = this.styleList[name]?.styles[0];
    const zeros = () => new Array(this.model.features.count).fill(0);
    return first ? { vector: first.centre, from: "style 0" } : { vector: zeros(), from: "no style known" };
  }

  /** Choose styles, {class: {vector, from}}. before: the styles that undoing goes back to, if a slider has moved since. */
  choose(styles, before = this.styles) {
    this.styles = { ...this.styles, ...styles };
    this.history.add({ ids: this.ids, styles: before }, { ids: this.ids, styles: this.styles }, this.width);
    this.emit("styles");
    this.edited("stroke");
  }

  /** {class: vector} of the classes in the map, as the server takes it; null for a model without styles. */
  vectors() {
    if (!this.model.features) return null;
    const shown = new Set(this.ids);
    const names = this.model.classes.filter((one) => shown.has(one.id)).map((one) => one.name);
    return Object.fromEntries(names.map((name) => [name, this.styleOf(name).vector]));
  }
}
