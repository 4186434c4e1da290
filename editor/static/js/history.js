// Undo and redo: of the map as rectangles that changed, of styles as whole objects (which are never changed in place).

const LEAST = 100; // steps that are kept, whatever they weigh
const MOST_BYTES = 64 << 20;

export class History {
  constructor() {
    this.clear();
  }

  clear() {
    this.done = [];
    this.undone = [];
  }

  /** Remember a step. before, after: {ids, styles}; what is the same object in both did not change. True if anything did. */
  add(before, after, width) {
    const patch = before.ids === after.ids ? null : difference(before.ids, after.ids, width);
    const styles = before.styles === after.styles ? null : { before: before.styles, after: after.styles };
    if (!patch && !styles) return false;
    this.done.push({ patch, styles });
    this.undone = [];
    let bytes = this.done.reduce((sum, step) => sum + weight(step), 0);
    while (this.done.length > LEAST && bytes > MOST_BYTES) bytes -= weight(this.done.shift());
    return true;
  }

  /** Undo a step on ids, in place. Gives the step, or null. */
  undo(ids, width) {
    const step = this.done.pop();
    if (!step) return null;
    this.undone.push(step);
    if (step.patch) apply(step.patch, step.patch.before, ids, width);
    return { styles: step.styles?.before };
  }

  redo(ids, width) {
    const step = this.undone.pop();
    if (!step) return null;
    this.done.push(step);
    if (step.patch) apply(step.patch, step.patch.after, ids, width);
    return { styles: step.styles?.after };
  }
}

const weight = (step) => (step.patch ? 2 * step.patch.before.length : 200);

function difference(before, after, width) {
  let x0 = width, x1 = -1, y0 = -1, y1 = -1;
  for (let i = 0; i < before.length; i++) {
    if (before[i] === after[i]) continue;
    const x = i % width;
    y1 = (i - x) / width;
    if (y0 < 0) y0 = y1;
    x0 = Math.min(x0, x);
    x1 = Math.max(x1, x);
  }
  if (x1 < 0) return null;
  const patch = { x: x0, y: y0, width: x1 - x0 + 1, height: y1 - y0 + 1 };
  return { ...patch, before: cut(before, patch, width), after: cut(after, patch, width) };
}

function cut(ids, patch, width) {
  const part = new Uint8Array(patch.width * patch.height);
  for (let y = 0; y < patch.height; y++) {
    const start = (patch.y + y) * width + patch.x;
    part.set(ids.subarray(start, start + patch.width), y * patch.width);
  }
  return part;
}

function apply(patch, part, ids, width) {
  for (let y = 0; y < patch.height; y++) {
    ids.set(part.subarray(y * patch.width, (y + 1) * patch.width), (patch.y + y) * width + patch.x);
  }
}
