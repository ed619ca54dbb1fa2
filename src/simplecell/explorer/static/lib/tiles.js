/** A latent as a small picture: on the gallery's canvas, or as a link of its own. */

import { h } from "./dom.js";
import { t } from "./words.js";

const LINE = 16;
const wraps = new Map();

/** Colours of the style sheet, for canvases; read anew when the theme changes. */
export const paint = {};

export function readPaint() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "muted", "line", "surface", "page", "blue", "orange", "bars", "soft"]) {
    paint[name] = style.getPropertyValue(`--${name}`).trim();
  }
  paint.font = style.getPropertyValue("--font").trim();
}

/**
 * How the tiles of a run are laid out at a size in CSS pixels.
 * @param {boolean} valued whether a value stands under the number
 */
export function layoutOf(run, size, valued) {
  const words = !run.atlas.sprites;
  const ratio = window.devicePixelRatio || 1;
  const plan = { words, size, gap: size < 26 ? 2 : size < 48 ? 6 : 10, bars: 0, caption: 0 };
  plan.width = size;
  plan.height = size;
  if (words) {
    plan.width = size < 40 ? size : Math.round(size * 1.9 + 24);
    plan.height = size < 40 ? size : Math.round(size * (run.atlas.look === "tokens" ? 0.65 : 0.9));
  } else {
    const [height, width] = run.strip ? [1, 1] : run.atlas.sprites.tile;
    const zoom = Math.min(size / height, size / width);
    // whole device pixels per pixel of the picture, so that none looks wider than its neighbour
    const whole = zoom * ratio >= 1 ? Math.floor(zoom * ratio) / ratio : zoom;
    plan.picture = { width: width * whole, height: height * whole, smooth: zoom * ratio < 1 };
    plan.width = Math.max(plan.picture.width, size >= 48 ? 44 : 0);
    plan.height = plan.picture.height;
    plan.lines = run.atlas.look === "row" && size >= 56 ? 2 : 0;
    if (plan.lines) plan.width = Math.max(plan.width, 120);
    if (run.strip) {
      plan.picture = { width: plan.width, height: Math.max(8, Math.round(size * 0.4)) };
      plan.height = plan.picture.height + (plan.lines ? 4 : 0);
    }
  }
  if (size >= 28) plan.bars = Math.max(8, Math.min(24, Math.round(size * 0.26)));
  if (size >= 48) plan.caption = valued ? 32 : 18;
  const text = (plan.lines ?? 0) * LINE;
  plan.cellWidth = plan.width + plan.gap;
  const tall = plan.height + text + plan.bars + plan.caption + plan.gap;
  plan.cellHeight = Math.ceil(tall * ratio) / ratio; // whole, so that rows can be shifted
  return plan;
}

/** Draw one latent with its upper left corner at (x, y), as `layoutOf` plans it. */
export function drawTile(pen, run, latent, x, y, plan) {
  const dead = run.isDead(latent);
  pen.globalAlpha = dead ? 0.4 : 1;
  let below = y + plan.height;
  if (plan.words) drawWords(pen, run, latent, x, y, plan);
  else {
    drawPicture(pen, run, latent, x, y, plan);
    if (plan.lines) {
      drawLines(pen, run.wordsOf(latent) || (run.pictured ? "" : "–"), x, below + 2, plan.width, plan.lines);
      below += plan.lines * LINE;
    }
  }
  pen.globalAlpha = 1;
  if (plan.bars && !dead) drawBars(pen, run.histogram(latent), x, below, plan.width, plan.bars);
  if (plan.caption) drawCaption(pen, run, latent, x, below + plan.bars, plan, dead);
}

function drawPicture(pen, run, latent, x, y, plan) {
  const sprite = run.sprite(latent);
  const { width, height, smooth } = plan.picture;
  const left = x + Math.floor((plan.width - width) / 2);
  if (!sprite) {
    pen.fillStyle = paint.soft;
    pen.fillRect(left, y, width, height);
    return;
  }
  pen.imageSmoothingEnabled = Boolean(smooth);
  drawSprite(pen, run, sprite, [left, y, width, height]);
}

function drawSprite(pen, run, sprite, box) {
  const { image, x, y, width, height } = sprite;
  if (run.strip) drawStrip(pen, sprite, run.strip, box);
  else pen.drawImage(image, x, y, width, height, ...box);
}

/** The sprite's rows of pixels one after the other: a column of the data each. */
function drawStrip(pen, sprite, n, [left, y, width, height]) {
  const unit = width / n;
  for (let first = 0, row = 0; first < n; first += sprite.width, row += 1) {
    const many = Math.min(sprite.width, n - first);
    pen.drawImage(sprite.image, sprite.x, sprite.y + row, many, 1, left + first * unit, y, many * unit, height);
  }
  if (height < 4) return;
  pen.strokeStyle = paint.line;
  pen.strokeRect(left + 0.5, y + 0.5, width - 1, height - 1);
}

function drawWords(pen, run, latent, x, y, plan) {
  pen.fillStyle = plan.caption ? paint.soft : shade(run, latent);
  pen.fillRect(x, y, plan.width, plan.height);
  if (plan.size < 40) return;
  const lines = Math.max(1, Math.floor((plan.height - 8) / LINE));
  drawLines(pen, run.wordsOf(latent) || "–", x + 7, y + 6, plan.width - 14, lines);
}

/** The tiniest tiles of words are a colour: the fuller, the more often active. */
function shade(run, latent) {
  const density = run.value("density", latent);
  const share = density > 0 ? Math.max(0.12, 1 + Math.log10(density) / 4) : 0.06;
  return `color-mix(in srgb, ${paint.blue} ${Math.round(share * 100)}%, ${paint.surface})`;
}

function drawLines(pen, text, x, y, width, most) {
  pen.font = `12.5px ${paint.font}`;
  pen.fillStyle = paint.ink;
  pen.textBaseline = "top";
  pen.textAlign = "left";
  wrap(pen, text, width, most).forEach((line, k) => pen.fillText(line, x, y + k * LINE));
}

function wrap(pen, text, width, most) {
  const key = `${width} ${most} ${text}`;
  const kept = wraps.get(key);
  if (kept) return kept;
  if (wraps.size > 30000) wraps.clear();
  const lines = [];
  let line = "";
  for (const word of text.split(/(?<=\s)|(?=[\u3400-\u9fff])/)) {
    if (line && pen.measureText(line + word.trimEnd()).width > width) {
      lines.push(line.trimEnd());
      line = "";
      if (lines.length === most) break;
    }
    line += word;
  }
  if (lines.length < most) lines.push(line.trimEnd());
  else lines[most - 1] += " …";
  const fitted = lines.map((one) => fit(pen, one, width));
  wraps.set(key, fitted);
  return fitted;
}

function fit(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let cut = text.replace(/ …$/, "");
  while (cut && pen.measureText(`${cut}…`).width > width) cut = cut.slice(0, -1);
  return `${cut}…`;
}

/** Logarithms of the counts, so that a rare strong answer is seen beside many weak ones. */
function drawBars(pen, counts, x, y, width, height) {
  const largest = Math.max(...counts);
  pen.fillStyle = paint.line;
  pen.fillRect(x, y + height - 1, width, 1);
  if (!largest) return;
  pen.fillStyle = paint.bars;
  pen.beginPath();
  const most = Math.log1p(largest);
  const step = width / counts.length;
  for (let k = 0; k < counts.length; k += 1) {
    if (!counts[k]) continue;
    const tall = Math.max(1.5, (Math.log1p(counts[k]) / most) * (height - 3));
    pen.rect(x + k * step, y + height - tall, Math.max(1, step - 0.5), tall);
  }
  pen.fill();
}

function drawCaption(pen, run, latent, x, y, { width, write }, dead) {
  pen.textBaseline = "top";
  pen.textAlign = "left";
  pen.font = `11px ${paint.font}`;
  pen.fillStyle = paint.muted;
  const number = String(latent);
  pen.fillText(number, x, y + 4);
  if (write) pen.fillText(write(latent), x, y + 18);
  const called = run.atlas.look === "picture" && run.nameOf(latent); // other tiles are words already
  if (called) {
    const left = pen.measureText(`${number} `).width;
    pen.fillStyle = paint.ink;
    pen.fillText(fit(pen, called, width - left), x + left, y + 4);
    return;
  }
  if (!dead && !run.notes[latent]) return;
  const mark = dead ? t("word.dead") : "✎";
  const wide = pen.measureText(mark).width;
  if (wide + pen.measureText(number).width + 4 <= width) pen.fillText(mark, x + width - wide, y + 4);
}

/** A latent's picture alone, as an element of about `size` CSS pixels; words where it has none. */
export function portrait(run, latent, size) {
  if (!run.atlas.sprites) {
    return h("span", { class: "words" }, run.wordsOf(latent) || "–");
  }
  const [height, width] = run.strip ? [1, run.strip] : run.atlas.sprites.tile;
  const zoom = size / Math.max(height, width);
  const look = { width: `${width * zoom}px`, height: run.strip ? `${size * 0.4}px` : `${height * zoom}px` };
  const canvas = h("canvas", { class: "pixels", width, height, style: look, "aria-hidden": "true" });
  const draw = () => {
    const sprite = run.sprite(latent);
    if (sprite) drawSprite(canvas.getContext("2d"), run, sprite, [0, 0, width, height]);
  };
  if (run.sprite(latent)) draw();
  else run.loadSheets(draw);
  return canvas;
}

/** A small link to a latent: its picture, its number, and a word about it, or "". */
export function tileLink(context, run, latent, remark, size) {
  const tag = run.wordsOf(latent);
  const name = [t("latent.name", { n: String(latent) }), tag, remark].filter(Boolean).join(", ");
  return h(
    "a",
    { class: "tile", href: context.link(`${run.name}/latent/${latent}`), "aria-label": name },
    portrait(run, latent, size),
    h("span", { class: "number" }, String(latent)),
    remark && h("span", { class: "remark" }, remark),
  );
}
