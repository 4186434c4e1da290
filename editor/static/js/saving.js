// Files to take away: the label map, the picture, both side by side, the project, all of it as a zip.
import { el, save, toPng } from "./dom.js";
import { encodeIds } from "./png.js";
import { toProject } from "./project.js";
import { zip } from "./zip.js";

/** {kind: makes [file name, Blob]} */
const KINDS = {
  map: async ({ editor }) => ["map.png", await encodeIds(editor.ids, editor.width, editor.height)],
  picture: async ({ picture }) => {
    if (!picture.blob) throw new Error("There is no picture yet.");
    return ["picture.png", picture.blob];
  },
  both: async (all) => ["side_by_side.png", await sideBySide(all)],
  project: async ({ editor }) => {
    const text = JSON.stringify(await toProject(editor));
    return ["project.json", new Blob([text], { type: "application/json" })];
  },
  zip: async (all) => {
    const files = {};
    for (const kind of ["map", "picture", "both", "project"]) {
      const [name, blob] = await KINDS[kind](all);
      files[name] = blob;
    }
    return ["all.zip", await zip(files)];
  },
};

/** all: {editor, picture, view}. */
export async function saveAs(kind, all) {
  const [name, blob] = await KINDS[kind](all);
  save(blob, `${all.editor.source.name.replace(/[^\w-]+/g, "_")}_${name}`);
  if (kind === "project" || kind === "zip") all.editor.setDirty(false);
}

/** The map in its colours, then the picture. */
function sideBySide({ editor, picture, view }) {
  if (!picture.shown) throw new Error("There is no picture yet.");
  const canvas = el("canvas", { width: 2 * editor.width, height: editor.height });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  view.paint();
  context.drawImage(view.painted, 0, 0);
  context.drawImage(picture.shown, editor.width, 0, editor.width, editor.height);
  return toPng(canvas);
}
