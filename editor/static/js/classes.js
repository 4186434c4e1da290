// The list of classes: choosing the one to paint, and locking those that must not be painted over.
import { byId, el, swatch } from "./dom.js";

export function showClasses(editor) {
  const rows = editor.model.classes.map((one) => {
    const radio = el("input", { type: "radio", name: "class", value: one.id, id: `class-${one.id}` });
    radio.addEventListener("change", () => editor.select(one.id));
    const lock = el("input", { type: "checkbox", className: "lock", "aria-label": `Protect ${one.name}`,
      title: `Protect ${one.name}: it is not painted over` });
    lock.addEventListener("change", () => protect(editor, one.id, lock.checked));
    return el("li", { "data-class": one.name }, radio, el("label", { for: radio.id }, swatch(one.color), one.name), lock);
  });
  byId("classes").replaceChildren(...rows);
  byId("protect-none").addEventListener("click", () => editor.set({ locked: new Set() }));
  byId("protect-others").addEventListener("click", () => protectOthers(editor));
  editor.addEventListener("class", () => mark(editor));
  editor.addEventListener("settings", () => mark(editor));
  mark(editor);
}

export function protect(editor, id, on = !editor.locked.has(id)) {
  const locked = new Set(editor.locked);
  if (on) locked.add(id);
  else locked.delete(id);
  editor.set({ locked });
}

/** Leave only background and the chosen class unprotected: hair is then painted behind the face. */
function protectOthers(editor) {
  const open = [editor.model.background, editor.current];
  editor.set({ locked: new Set(editor.model.classes.map((one) => one.id).filter((id) => !open.includes(id))) });
}

function mark(editor) {
  for (const row of byId("classes").children) {
    const [radio, , lock] = row.children;
    const id = Number(radio.value);
    radio.checked = id === editor.current;
    lock.checked = editor.locked.has(id);
    if (!radio.checked) continue;
    const list = row.parentElement; // scrolled by itself, so that the page stays where it is
    list.scrollTop = row.offsetTop - list.clientHeight / 2;
    list.scrollLeft = row.offsetLeft - list.clientWidth / 2;
  }
}
