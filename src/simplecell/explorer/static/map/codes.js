/** The code of one latent at the points of a map: asked of the server, or read from the files of a site. */

import { bytesOf } from "../lib/store.js";

const SHARD = 32; // latents in a file

/**
 * @param {import("../lib/atlas.js").Run} run
 * @param {number} count of points
 * @returns {Promise<Float32Array>} NaN at points whose codes are not at hand
 */
export async function codesOf(run, latent, count) {
  const { store, name } = run;
  if (store.mode === "server") return new Float32Array(await store.bytes(`${name}/map/latent/${latent}`));
  const told = await store.get(`${name}/map/codes`);
  const shard = await store.get(`${name}/map/codes/${Math.floor(latent / SHARD)}`);
  return spread(told, shard, latent % SHARD, count);
}

/** The entries of one latent of a shard, at their points. */
export function spread({ samples, points }, { ends, scales, places, values }, at, count) {
  const rows = points && new Uint32Array(bytesOf(points).buffer);
  const [own, steps] = [new Uint16Array(bytesOf(places).buffer), new Int16Array(bytesOf(values).buffer)];
  const found = new Float32Array(count).fill(NaN);
  for (let k = 0; k < samples; k += 1) found[rows ? rows[k] : k] = 0;
  for (let k = at ? ends[at - 1] : 0; k < ends[at]; k += 1) found[rows ? rows[own[k]] : own[k]] = steps[k] * scales[at];
  return found;
}
