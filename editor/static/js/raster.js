// Shapes as sets of pixels: what the tools paint. Pixels are given to `put(index)`; nothing is blended.

/** The pixels whose centres are at most size / 2 from the segment a-b; for size 1, a line of single pixels. */
export function stroke(a, b, size, width, height, put) {
  if (size < 2) return line(a, b, width, height, put);
  const radius = size / 2;
  const dx = b.x - a.x;
  const dy = b.y - a.y;
  const length = dx * dx + dy * dy;
  const x0 = Math.max(0, Math.floor(Math.min(a.x, b.x) - radius));
  const x1 = Math.min(width - 1, Math.ceil(Math.max(a.x, b.x) + radius));
  const y0 = Math.max(0, Math.floor(Math.min(a.y, b.y) - radius));
  const y1 = Math.min(height - 1, Math.ceil(Math.max(a.y, b.y) + radius));
  for (let y = y0; y <= y1; y++) {
    for (let x = x0; x <= x1; x++) {
      const px = x + 0.5 - a.x;
      const py = y + 0.5 - a.y;
      const t = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
      const ex = px - t * dx;
      const ey = py - t * dy;
      if (ex * ex + ey * ey <= radius * radius) put(y * width + x);
    }
  }
}

function line(a, b, width, height, put) {
  const steps = Math.max(1, Math.ceil(2 * Math.max(Math.abs(b.x - a.x), Math.abs(b.y - a.y))));
  for (let i = 0; i <= steps; i++) {
    const x = Math.floor(a.x + ((b.x - a.x) * i) / steps);
    const y = Math.floor(a.y + ((b.y - a.y) * i) / steps);
    if (x >= 0 && y >= 0 && x < width && y < height) put(y * width + x);
  }
}

/** The pixels of one id that are connected (4 neighbours) with the one at `start`. */
export function region(ids, start, width, height) {
  const wanted = ids[start];
  const seen = new Uint8Array(ids.length);
  const found = [start];
  seen[start] = 1;
  for (let next = 0; next < found.length; next++) {
    for (const j of neighbours(found[next], width, height)) {
      if (!seen[j] && ids[j] === wanted) {
        seen[j] = 1;
        found.push(j);
      }
    }
  }
  return found;
}

function neighbours(i, width, height) {
  const x = i % width;
  const near = [];
  if (x > 0) near.push(i - 1);
  if (x < width - 1) near.push(i + 1);
  if (i >= width) near.push(i - width);
  if (i < width * (height - 1)) near.push(i + width);
  return near;
}

/** The pixels whose centres lie in a polygon (even-odd rule). points: [{x, y}], closed by itself. */
export function polygon(points, width, height, put) {
  for (let y = 0; y < height; y++) {
    const crossings = [];
    for (let k = 0; k < points.length; k++) {
      const a = points[k];
      const b = points[(k + 1) % points.length];
      if (a.y <= y + 0.5 !== b.y <= y + 0.5) crossings.push(a.x + ((y + 0.5 - a.y) * (b.x - a.x)) / (b.y - a.y));
    }
    crossings.sort((p, q) => p - q);
    for (let k = 0; k + 1 < crossings.length; k += 2) {
      const end = Math.min(width - 1, Math.ceil(crossings[k + 1] - 0.5) - 1);
      for (let x = Math.max(0, Math.ceil(crossings[k] - 0.5)); x <= end; x++) put(y * width + x);
    }
  }
}

/** For the pixels of a region, the ids of the nearest pixels around it: {index: id} as two arrays in the region's order. */
export function filledByNeighbours(ids, pixels, width, height) {
  const open = new Uint8Array(ids.length);
  for (const i of pixels) open[i] = 1;
  const filled = ids.slice();
  let border = pixels.filter((i) => neighbours(i, width, height).some((j) => !open[j]));
  while (border.length) {
    const found = border.map((i) => filled[neighbours(i, width, height).find((j) => !open[j])]);
    border.forEach((i, k) => (filled[i] = found[k]));
    border.forEach((i) => (open[i] = 0));
    border = [...new Set(border.flatMap((i) => neighbours(i, width, height).filter((j) => open[j])))];
  }
  return filled;
}
