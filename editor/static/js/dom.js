// Making elements without HTML in strings.

/** el("button", {textContent: "Open", onclick: ...}, child, ...); data-, aria- and other attributes by their names. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

export function swatch(color) {
  const element = el("span", { className: "swatch", "aria-hidden": "true" });
  element.style.backgroundColor = `rgb(${color.join(" ")})`;
  return element;
}

/** Offer a Blob as a file. */
export function save(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** A bitmap on a canvas of its size, or as wide as `width`. */
export function onCanvas(bitmap, width = bitmap.width) {
  const canvas = el("canvas", { width, height: Math.max(1, Math.round((bitmap.height * width) / bitmap.width)) });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

export const toPng = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
