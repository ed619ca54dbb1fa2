/**
 * The columns of many rows of numbers.
 *
 * @typedef {{low: number, high: number, mean: number, deviation: number}} Column
 */

/**
 * Of each column the least, the largest, the mean and the standard deviation.
 * @param {Float32Array|Float64Array} values rows after rows, each of so many columns
 * @returns {Column[]}
 */
export function columnsOf(values, width) {
  const columns = Array.from({ length: width }, () =>
    ({ low: Infinity, high: -Infinity, mean: 0, deviation: 0 }));
  const count = values.length / width;
  values.forEach((value, at) => {
    const column = columns[at % width];
    column.low = Math.min(column.low, value);
    column.high = Math.max(column.high, value);
    column.mean += value / count;
  });
  values.forEach((value, at) => {
    const column = columns[at % width];
    column.deviation += (value - column.mean) ** 2 / count;
  });
  for (const column of columns) column.deviation = Math.sqrt(column.deviation);
  return columns;
}
