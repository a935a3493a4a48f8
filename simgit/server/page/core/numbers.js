// Numbers of the API and of recorded values, as docs/json.md has them.

const ODD = { nan: NaN, inf: Infinity, "-inf": -Infinity };

/** Return the elements of an array in a row (of complex numbers pairs), its shape and type; null if a value is no array. */
export function arrayOf(value) {
  if (!value || typeof value !== "object" || !("$array" in value)) return null;
  const data = value.$array;
  const isComplex = /^[<>|=]?c/.test(value.dtype ?? "");
  const shape = value.shape ?? (isComplex ? shapeOf(data).slice(0, -1) : shapeOf(data));
  if (data === null || data?.$bytes !== undefined) return { flat: null, shape, dtype: value.dtype };
  const flat = Array.isArray(data) ? data.flat(Infinity) : [data];
  return { flat: isComplex ? pairs(flat) : flat, shape, dtype: value.dtype };
}

const shapeOf = (data) => (Array.isArray(data) ? [data.length, ...(data.length ? shapeOf(data[0]) : [])] : []);
const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, index) => flat.slice(2 * index, 2 * index + 2));

/** Return a number exactly: an integer that no double holds is a bigint; null if a value is no number. @returns {number | bigint | null} */
export function exact(value) {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return Number(value);
  if (!value || typeof value !== "object") return null;
  if ("$float" in value) return ODD[value.$float] ?? NaN;
  if ("$int" in value) return BigInt(value.$int);
  const array = arrayOf(value);
  return array?.flat && !array.shape.length ? exact(array.flat[0]) : null;
}

/** Return a number as a double; null if a value is none. @returns {number | null} */
export function numeric(value) {
  const found = exact(value);
  return found === null ? null : Number(found);
}

/** Return a − b, exactly where both are integers. @param {number | bigint} a @param {number | bigint} b */
export function minus(a, b) {
  const isWhole = [a, b].every((each) => typeof each === "bigint" || Number.isSafeInteger(each));
  if (!isWhole) return Number(a) - Number(b);
  const found = BigInt(a) - BigInt(b);
  return BigInt(Number(found)) === found ? Number(found) : found;
}
