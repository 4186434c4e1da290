// Requests to the server. An error's message is the server's own line.

export class Refused extends Error {
  constructor(message, status, wait) {
    super(message);
    this.status = status;
    this.wait = wait; // seconds, of a server that is busy
  }
}

async function answered(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer; is edit.py still running?", 0);
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  const message = said.error ?? `The server answered ${response.status}`;
  throw new Refused(message, response.status, Number(response.headers.get("retry-after")));
}

const form = (fields) => {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value !== undefined && value !== null) data.append(name, value);
  return data;
};

export const getJson = async (path) => (await answered(path)).json();
export const getBlob = async (path) => (await answered(path)).blob();
const post = (path, fields, signal) => answered(path, { method: "POST", body: form(fields), signal });

/** A PNG Blob of a label map, and {class: features} -> {blob, timing}, timing being the server's seconds by step. */
export async function draw(label, styles, signal) {
  const response = await post("/api/draw", { label, styles: styles && JSON.stringify(styles) }, signal);
  return { blob: await response.blob(), timing: response.headers.get("server-timing") };
}

export const encode = async (photo, label) => (await (await post("/api/encode", { photo, label })).json()).features;
export const readLabel = async (file) => (await post("/api/label", { label: file })).blob();
export const readPhoto = async (file) => (await post("/api/photo", { photo: file })).blob();

export async function parse(photo, align) {
  const found = await (await post("/api/parse", { photo, align })).json();
  return { photo: fromBase64(found.photo), label: fromBase64(found.label) };
}

export function fromBase64(text, type = "image/png") {
  return new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], { type });
}

export async function toBase64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}
