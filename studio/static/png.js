// A PNG written by hand: grey pixels are class ids, exactly; a browser's own canvas would make colours of them.

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc(bytes) {
  let c = 0xffffffff;
  for (const byte of bytes) c = table[(c ^ byte) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

function chunk(name, data) {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set([...name].map((letter) => letter.charCodeAt(0)), 4);
  bytes.set(data, 8);
  view.setUint32(data.length + 8, crc(bytes.subarray(4, data.length + 8)));
  return bytes;
}

async function deflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Ids as a Blob: 8-bit grey, or with a palette [[r, g, b], ...] the same bytes as indices into it. legend: text beside it.
export async function png({ data, width, height }, palette = null, legend = "") {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, palette ? 3 : 0, 0, 0, 0], 8);
  const rows = new Uint8Array((width + 1) * height); // a zero before every row: no filter
  for (let y = 0; y < height; y++) rows.set(data.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const parts = [Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10), chunk("IHDR", header)];
  if (palette) parts.push(chunk("PLTE", Uint8Array.from(palette.flat())));
  if (legend) parts.push(chunk("tEXt", new TextEncoder().encode(`Comment\0${legend}`)));
  parts.push(chunk("IDAT", await deflated(rows)), chunk("IEND", new Uint8Array(0)));
  return new Blob(parts, { type: "image/png" });
}
