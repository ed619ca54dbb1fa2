/**
 * Points on the graphics card, by WebGL 2: a million of them in a frame.
 *
 * Written here because libraries for this compile their programs from text, which the pages' policy
 * of scripts forbids.
 *
 * @typedef {object} Painter what draws points on a canvas of its own
 * @property {HTMLCanvasElement} canvas
 * @property {string} way "webgl" or "canvas"
 * @property {number} most points that it draws, *count*
 * @property {(places: Float32Array) => void} place x and y of each point
 * @property {(colours: Uint8Array, order: Uint32Array|null) => void} colour red, green, blue, opacity of each
 *   point; and in which order they are drawn, where that counts
 * @property {(groups: {points: Uint32Array, colour: number[]}[]) => void} choose points to stand out
 * @property {boolean} fast whether it draws all points in each frame with ease
 * @property {boolean} slices whether drawing comes in parts, and is seen at the end only
 * @property {(seen: Seen, size: number) => Iterator<void>} drawing draws as far as it is asked for steps
 * @property {() => void} close
 *
 * @typedef {{x: number, y: number, unit: number, width: number, height: number}} Seen what a canvas shows: the
 *   place in its middle, pixels of a unit, and its size
 */

import { h } from "../lib/dom.js";

const VERTEX = `#version 300 es
in vec2 place;
in vec4 colour;
uniform vec2 middle;
uniform vec2 scale;
uniform float size;
uniform vec4 chosen;
uniform float strength;
out vec4 shade;
void main() {
  gl_Position = vec4((place - middle) * scale, 0.0, 1.0);
  gl_PointSize = size;
  shade = chosen.a > 0.0 ? chosen : vec4(colour.rgb, colour.a * strength);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 shade;
uniform float size;
out vec4 pixel;
void main() {
  vec2 away = gl_PointCoord - 0.5;
  if (size > 4.0 && dot(away, away) > 0.25) discard;
  pixel = vec4(shade.rgb * shade.a, shade.a);
}`;
const FAINT = 0.3; // of points beside chosen ones

/**
 * A painter by WebGL; null where there is no graphics card: drawn by the processor, WebGL takes several
 * times as long as a plain canvas.
 * @param {() => void} lost is called when the graphics card is taken away
 * @param {boolean} anyway whether the processor may draw
 * @returns {Painter|null}
 */
export function webglPainter(lost, anyway = false) {
  const canvas = h("canvas", { class: "map-points", "aria-hidden": "true" });
  const wishes = { antialias: false, depth: false, failIfMajorPerformanceCaveat: !anyway };
  const gl = canvas.getContext("webgl2", wishes);
  const slow = gl && byProcessor(gl);
  if (!gl || (!anyway && slow)) return null;
  const program = linked(gl);
  if (!program) return null;
  canvas.addEventListener("webglcontextlost", (event) => {
    event.preventDefault();
    if (!painter.closed) lost();
  });
  const painter = new WebglPainter(canvas, gl, program, !slow);
  return painter;
}

/** Whether the processor draws, as browsers without a screen do and call it no caveat. */
function byProcessor(gl) {
  const named = gl.getExtension("WEBGL_debug_renderer_info")?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER;
  return /swiftshader|llvmpipe|software|basic render|warp/i.test(String(gl.getParameter(named)));
}

function linked(gl) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return gl.getProgramParameter(program, gl.LINK_STATUS) ? program : null;
}

class WebglPainter {
  constructor(canvas, gl, program, fast) {
    Object.assign(this, { canvas, gl, program, fast, slices: false, way: "webgl", most: Infinity, count: 0, groups: [], closed: false });
    const names = ["middle", "scale", "size", "chosen", "strength"];
    this.at = Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)]));
    this.places = this.#attribute("place", 2, gl.FLOAT, false);
    this.colours = this.#attribute("colour", 4, gl.UNSIGNED_BYTE, true);
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  #attribute(name, size, type, normalised) {
    const { gl, program } = this;
    const buffer = gl.createBuffer();
    const place = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, normalised, 0, 0);
    return buffer;
  }

  #fill(buffer, values) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
  }

  place(places) {
    this.count = places.length / 2;
    this.#fill(this.places, places);
  }

  colour(colours, order) {
    const { gl } = this;
    this.#fill(this.colours, colours);
    gl.deleteBuffer(this.order);
    this.order = order && this.#listed(order);
  }

  /** Points as the card takes lists of them. */
  #listed(points) {
    const { gl } = this;
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, points, gl.STATIC_DRAW);
    return buffer;
  }

  choose(groups) {
    const { gl } = this;
    for (const { buffer } of this.groups) gl.deleteBuffer(buffer);
    this.groups = groups.filter(({ points }) => points.length).map(({ points, colour }) => (
      { buffer: this.#listed(points), count: points.length, colour: colour.map((part) => part / 255) }
    ));
  }

  *drawing(view, size) {
    const { gl, at, canvas } = this;
    const ratio = canvas.width / view.width;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.count) return;
    gl.uniform2f(at.middle, view.x, view.y);
    gl.uniform2f(at.scale, (2 * view.unit) / view.width, (2 * view.unit) / view.height);
    gl.uniform1f(at.size, size * ratio);
    gl.uniform4f(at.chosen, 0, 0, 0, 0);
    gl.uniform1f(at.strength, this.groups.length ? FAINT : 1);
    if (this.order) this.#drawn(this.order, this.count);
    else gl.drawArrays(gl.POINTS, 0, this.count);
    for (const { buffer, count, colour } of this.groups) {
      gl.uniform4f(at.chosen, ...colour);
      gl.uniform1f(at.size, (size + 1) * ratio);
      this.#drawn(buffer, count);
    }
  }

  #drawn(buffer, count) {
    const { gl } = this;
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffer);
    gl.drawElements(gl.POINTS, count, gl.UNSIGNED_INT, 0);
  }

  /** Give the graphics card back: browsers lend it to a few canvases only. */
  close() {
    this.closed = true;
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
