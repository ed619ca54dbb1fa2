/** Where a patch lies in its photograph: a ring of its true size, or of the least that is seen. */

import { s } from "./dom.js";

const LEAST = 6;
const TICK = 4;

/**
 * @param {{width: number, height: number}} photo in pixels of the file
 * @param {{top: number, left: number, side: number}} place
 * @param {number} scale CSS pixels per pixel of the file
 */
export function marker(photo, place, scale) {
  const tiny = place.side * scale < LEAST;
  const side = tiny ? LEAST / scale : place.side;
  const x = within(place.left + (place.side - side) / 2, side, photo.width);
  const y = within(place.top + (place.side - side) / 2, side, photo.height);
  const shapes = (kind) => [
    s("rect", { class: kind, x, y, width: side, height: side }),
    tiny && s("path", { class: kind, d: ticks(x, y, side, TICK / scale) }),
  ];
  return s(
    "svg",
    { viewBox: `0 0 ${photo.width} ${photo.height}`, preserveAspectRatio: "xMidYMid meet", "aria-hidden": "true" },
    shapes("outline"), shapes("ring"),
  );
}

/** Moved so that it lies inside. */
function within(at, side, whole) {
  return Math.max(0, Math.min(at, whole - side));
}

/** Short lines outwards from the corners, which say that the patch is smaller than the ring. */
function ticks(x, y, side, length) {
  return [[x, y, -1, -1], [x + side, y, 1, -1], [x, y + side, -1, 1], [x + side, y + side, 1, 1]]
    .map(([left, top, right, down]) => `M${left} ${top}l${right * length} ${down * length}`).join("");
}
