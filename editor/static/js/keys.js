// Keys that work anywhere on the page, and the list that `?` shows.
import { byId, el } from "./dom.js";
import { TOOLS } from "./tools.js";

/** actions: [{keys: ["["], ctrl: false, help: "...", run}] */
export function listenToKeys(actions, hold) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || isText(event.target)) return;
    const ctrl = event.ctrlKey || event.metaKey;
    if (event.key.toLowerCase() === "c" && !ctrl) return hold(true);
    const found = actions.find((one) => Boolean(one.ctrl) === ctrl && Boolean(one.shift) === (ctrl && event.shiftKey) &&
      one.keys.includes(event.key.toLowerCase()));
    if (!found || event.altKey) return undefined;
    event.preventDefault();
    return found.run();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "c") hold(false);
  });
}

const TEXT = "textarea, select, input:not([type=radio], [type=checkbox], [type=range], [type=file])";
const isText = (element) => element.matches?.(TEXT);

export function showKeys(actions) {
  const rows = [
    ...Object.values(TOOLS).map(({ title, key, help }) => [key.toUpperCase(), `${title}: ${help}`]),
    ...actions.filter((one) => one.help).map((one) => [shown(one), one.help]),
    ["C", "hold: the picture as it was first"],
    ["Arrows", "on the map: move a crosshair (with Shift by 10 pixels)"],
    ["Enter", "on the map: put the tool down at the crosshair, and lift it"],
    ["Escape", "on the map: take back a stroke that is not lifted yet"],
    ["Wheel", "on the map: the brush's size; with Ctrl, or with other tools, zoom"],
    ["Right click", "on the map: choose that class"],
  ];
  byId("keys").replaceChildren(...rows.map(([key, text]) =>
    el("div", {}, el("dt", {}, el("kbd", { textContent: key })), el("dd", { textContent: text }))));
}

const shown = ({ ctrl, shift, keys }) => `${ctrl ? "Ctrl " : ""}${shift ? "Shift " : ""}${keys[0].toUpperCase()}`;
