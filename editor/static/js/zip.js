// ZIP files without compression: what is put in (PNG, mostly) is compressed already.
import { crc32 } from "./png.js";

/** {name: Blob} -> a ZIP Blob. */
export async function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, blob] of Object.entries(files)) {
    const data = new Uint8Array(await blob.arrayBuffer());
    const entry = { name: new TextEncoder().encode(name), crc: crc32(data), size: data.length, offset };
    const local = header(0x04034b50, entry, false);
    parts.push(local, data);
    directory.push(header(0x02014b50, entry, true));
    offset += local.length + data.length;
  }
  const size = directory.reduce((sum, bytes) => sum + bytes.length, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, directory.length, true);
  end.setUint16(10, directory.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end.buffer], { type: "application/zip" });
}

/** A file's local header, or its entry in the central directory. */
function header(signature, entry, central) {
  const start = central ? 46 : 30;
  const bytes = new Uint8Array(start + entry.name.length);
  const view = new DataView(bytes.buffer);
  const shift = central ? 2 : 0; // the directory has one more field, the version that made it
  view.setUint32(0, signature, true);
  view.setUint16(4, 20, true);
  if (central) view.setUint16(6, 20, true);
  view.setUint16(6 + shift, 0x0800, true); // names in UTF-8
  view.setUint16(12 + shift, 0x21, true); // 1 January 1980
  view.setUint32(14 + shift, entry.crc, true);
  view.setUint32(18 + shift, entry.size, true);
  view.setUint32(22 + shift, entry.size, true);
  view.setUint16(26 + shift, entry.name.length, true);
  if (central) view.setUint32(42, entry.offset, true);
  bytes.set(entry.name, start);
  return bytes;
}
