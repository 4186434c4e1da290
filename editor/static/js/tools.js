// The tools. Each has down, move and up, at points in pixels of the map (with fractions), of a mouse, pen, finger or keys.
import { filledByNeighbours, polygon, region, stroke } from "./raster.js";

class Brush {
  constructor(idOf) {
    this.idOf = idOf;
    this.ring = true;
  }
  down(editor, point) {
    editor.begin();
    this.last = point;
    this.move(editor, point);
  }
  move(editor, point) {
    const id = this.idOf(editor);
    stroke(this.last, point, editor.size, editor.width, editor.height, (i) => editor.put(i, id));
    this.last = point;
    editor.changed();
  }
  up(editor) {
    editor.commit();
  }
}

class Fill {
  down(editor, point) {
    const start = inside(editor, point);
    editor.begin();
    const pixels = start === null ? [] : region(editor.before, start, editor.width, editor.height);
    for (const i of pixels) editor.put(i, editor.current);
    editor.commit();
  }
  move() {}
  up() {}
}

class Lasso {
  down(editor, point) {
    editor.begin();
    this.points = [point];
  }
  move(editor, point) {
    this.points.push(point);
    editor.changed();
  }
  up(editor) {
    const points = this.points;
    this.points = null;
    if (points.length > 2) polygon(points, editor.width, editor.height, (i) => editor.put(i, editor.current));
    editor.commit();
  }
  cancel() {
    this.points = null;
  }
}

class Pick {
  down(editor, point) {
    if (inside(editor, point) !== null) editor.select(editor.idAt(point.x, point.y));
  }
  move() {}
  up() {}
}

/** Drags a region; what it leaves is filled by its neighbours. */
class Move {
  down(editor, point) {
    const start = inside(editor, point);
    editor.begin();
    this.start = point;
    this.pixels = start === null ? [] : region(editor.before, start, editor.width, editor.height);
    this.id = start === null ? 0 : editor.before[start];
    this.rest = filledByNeighbours(editor.before, this.pixels, editor.width, editor.height);
  }
  move(editor, point) {
    const dx = Math.round(point.x - this.start.x);
    const dy = Math.round(point.y - this.start.y);
    const { width, height } = editor;
    editor.ids.set(this.rest);
    for (const i of this.pixels) {
      const x = (i % width) + dx;
      const y = Math.floor(i / width) + dy;
      if (x < 0 || y < 0 || x >= width || y >= height) continue;
      if (!editor.locked.has(this.rest[y * width + x])) editor.ids[y * width + x] = this.id;
    }
    editor.changed();
  }
  up(editor) {
    editor.commit();
  }
}

class Pan {
  constructor() {
    this.pans = true;
  }
  down() {}
  move() {}
  up() {}
}

/** The pixel's index, or null outside of the map. */
function inside(editor, { x, y }) {
  const within = x >= 0 && y >= 0 && x < editor.width && y < editor.height;
  return within ? Math.floor(y) * editor.width + Math.floor(x) : null;
}

export const TOOLS = {
  brush: { title: "Brush", key: "b", tool: new Brush((editor) => editor.current), help: "paint the chosen class" },
  eraser: { title: "Eraser", key: "e", tool: new Brush((editor) => editor.model.background), help: "paint background" },
  fill: { title: "Fill", key: "f", tool: new Fill(), help: "give a whole region the chosen class" },
  lasso: { title: "Lasso", key: "l", tool: new Lasso(), help: "fill what you circle" },
  pick: { title: "Pick", key: "i", tool: new Pick(), help: "choose the class under the pointer" },
  move: { title: "Move", key: "m", tool: new Move(), help: "drag a region; its neighbours fill the gap" },
  pan: { title: "Pan", key: "h", tool: new Pan(), help: "move the view (or hold Space)" },
};
