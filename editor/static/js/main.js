// Starting the page: the model's facts, the work that was left or a first face, and what every control does.
import { getJson } from "./api.js";
import { protect, showClasses } from "./classes.js";
import { byId, el } from "./dom.js";
import { Editor } from "./editor.js";
import { listenToKeys, showKeys } from "./keys.js";
import { MapView } from "./mapview.js";
import { Picture } from "./picture.js";
import { Autosave, fromProject } from "./project.js";
import { saveAs } from "./saving.js";
import { OpenDialog, SecondPhoto, emptySource, ofGallery } from "./sources.js";
import { StylePanel } from "./styles.js";
import { TOOLS } from "./tools.js";

/** Tell something in the status line; errors stay until the next. */
function say(text, isError = false) {
  if (!isError && byId("status").classList.contains("error") && !text) return;
  byId("status").textContent = text;
  byId("status").classList.toggle("error", isError);
}

async function start() {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
  const [model, styleList, gallery] = await Promise.all(["/api/model", "/api/styles", "/api/gallery"].map(getJson));
  byId("model").textContent = model.name;
  const editor = new Editor(model, styleList);
  const view = new MapView(byId("map"), editor, say);
  const picture = new Picture(editor, say);
  new StylePanel(editor, say);
  const dialog = new OpenDialog(model, gallery, say);
  const second = new SecondPhoto(editor, dialog, say);
  const autosave = new Autosave(editor);
  const all = { editor, view, picture, dialog, second, say };
  showClasses(editor);
  showTools(all);
  showSettings(all);
  connectFiles(all);
  connectKeys(all);
  editor.addEventListener("opened", () => showPhoto(all));
  await begin(all, autosave, gallery);
  document.documentElement.dataset.ready = "yes";
}

/** The work that was left, else the first face of the gallery, else an empty map. */
async function begin({ editor, second }, autosave, gallery) {
  const left = await autosave.left();
  byId("hints").hidden = left !== null;
  if (left) return openProject({ editor, second }, left);
  const source = gallery.length ? await ofGallery(editor.model, gallery[0]) : emptySource(editor.model);
  return editor.open(source);
}

async function openProject({ editor, second }, found) {
  editor.open(found.source, found.styles, found.ids);
  if (found.dirty) editor.setDirty(true);
  if (found.current !== undefined) editor.select(found.current);
  await second.show(found.other?.photo ? found.other : null);
}

async function showPhoto({ editor, view }) {
  view.photo = null;
  byId("opacity").disabled = !editor.source.photo;
  if (editor.source.photo) view.photo = await createImageBitmap(editor.source.photo);
  view.render();
}

// controls

function showTools({ view }) {
  const buttons = Object.entries(TOOLS).map(([name, { title, key, help }]) => {
    const facts = { type: "button", "aria-pressed": String(name === view.name), "aria-keyshortcuts": key, title: help };
    const button = el("button", facts, title, el("kbd", { textContent: key.toUpperCase(), "aria-hidden": "true" }));
    button.dataset.tool = name;
    button.addEventListener("click", () => chooseTool(view, name));
    return button;
  });
  byId("tools").replaceChildren(...buttons);
}

function chooseTool(view, name) {
  view.choose(name);
  for (const button of byId("tools").children) button.setAttribute("aria-pressed", button.dataset.tool === name);
}

function showSettings({ editor, view }) {
  const size = byId("size");
  const show = () => {
    size.value = editor.size;
    byId("size-value").textContent = `${editor.size} px`;
    byId("opacity").value = editor.opacity;
    byId("mirror").checked = editor.mirror;
  };
  size.addEventListener("input", () => editor.set({ size: Number(size.value) }));
  byId("opacity").addEventListener("input", (event) => editor.set({ opacity: Number(event.target.value) }));
  byId("mirror").addEventListener("change", (event) => editor.set({ mirror: event.target.checked }));
  editor.addEventListener("settings", show);
  editor.addEventListener("opened", show);
  byId("undo").addEventListener("click", () => editor.undo());
  byId("redo").addEventListener("click", () => editor.redo());
  byId("zoom-in").addEventListener("click", () => view.zoom(1.5));
  byId("zoom-out").addEventListener("click", () => view.zoom(1 / 1.5));
  byId("fit").addEventListener("click", () => view.fit());
  const steps = () => {
    byId("undo").disabled = !editor.history.done.length;
    byId("redo").disabled = !editor.history.undone.length;
  };
  for (const name of ["stroke", "opened", "styles"]) editor.addEventListener(name, steps);
  byId("theme").addEventListener("click", changeTheme);
  byId("hints-close").addEventListener("click", () => (byId("hints").hidden = true));
}

function changeTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
}

function connectFiles(all) {
  const { editor, dialog } = all;
  byId("open").addEventListener("click", () => openMap(all));
  byId("open-project").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    try {
      const found = await fromProject(JSON.parse(await file.text()), editor.model);
      dialog.dialog.close();
      if (await mayLose(editor)) await openProject(all, found);
    } catch (error) {
      dialog.told(error instanceof SyntaxError ? "This is no project file of the editor." : error.message);
    }
    event.target.value = "";
  });
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => {
      byId("save-menu").open = false;
      saveAs(button.dataset.save, all).catch((error) => say(error.message, true));
    });
  }
  for (const button of document.querySelectorAll("dialog [value=cancel]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  document.addEventListener("click", (event) => {
    if (!byId("save-menu").contains(event.target)) byId("save-menu").open = false;
  });
  byId("help").addEventListener("click", () => byId("help-dialog").showModal());
  editor.addEventListener("dirty", () => (byId("unsaved").hidden = !editor.dirty));
}

function openMap({ editor, dialog }) {
  dialog.ask("Open", async (source) => {
    if (await mayLose(editor)) editor.open(source);
  });
}

/** Ask before work that is in no file is replaced. */
function mayLose(editor) {
  if (!editor.dirty) return true;
  const dialog = byId("lose-dialog");
  dialog.returnValue = "";
  dialog.showModal();
  byId("lose").onclick = () => dialog.close("lose");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "lose"), { once: true });
  });
}

function connectKeys(all) {
  const { editor, view, picture } = all;
  const ids = editor.model.classes.map((one) => one.id);
  const next = (by) => editor.select(ids[(ids.indexOf(editor.current) + by + ids.length) % ids.length]);
  const actions = [
    ...Object.entries(TOOLS).map(([name, { key }]) => ({ keys: [key], run: () => chooseTool(view, name) })),
    { keys: ["["], help: "smaller brush", run: () => view.resize(-1) },
    { keys: ["]"], help: "larger brush", run: () => view.resize(1) },
    { keys: [","], help: "previous class", run: () => next(-1) },
    { keys: ["."], help: "next class", run: () => next(1) },
    { keys: ["x"], help: "mirror drawing", run: () => editor.set({ mirror: !editor.mirror }) },
    { keys: ["p"], help: "protect the chosen class from being painted over", run: () => protect(editor, editor.current) },
    { keys: ["r"], help: "a random style for the chosen class", run: () => byId("style-random").click() },
    { keys: ["z"], ctrl: true, help: "undo", run: () => editor.undo() },
    { keys: ["z"], ctrl: true, shift: true, help: "redo", run: () => editor.redo() },
    { keys: ["y"], ctrl: true, run: () => editor.redo() },
    { keys: ["+", "="], help: "zoom in", run: () => view.zoom(1.25) },
    { keys: ["-"], help: "zoom out", run: () => view.zoom(0.8) },
    { keys: ["0"], help: "the whole map", run: () => view.fit() },
    { keys: ["o"], help: "open", run: () => openMap(all) },
    { keys: ["s"], ctrl: true, help: "save the project", run: () => saveAs("project", all) },
    { keys: ["g"], help: "go to the map, for the keys below", run: () => byId("map").focus() },
    { keys: ["?"], help: "these keys", run: () => byId("help-dialog").showModal() },
  ];
  listenToKeys(actions, (on) => picture.before(on));
  showKeys(actions);
  document.addEventListener("keydown", (event) => {
    if (event.key === " " && document.activeElement === byId("map")) {
      view.space = true;
      event.preventDefault();
    }
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") view.space = false;
  });
}

start().catch((error) => say(error.message, true));
