// Range scans over a store and the edits that lie above it: deletions hide, values replace, in byte order. It holds no state.
import type { Kv, KvRange } from '../lib/kv.js';

/** Edits by keyText: a value, or undefined for a deletion. */
export type Edits = Map<string, { key: Buffer; value: Buffer | undefined }>;

/** A key as text for maps; byte order is the order of code units. */
export function keyText(key: Buffer): string {
  return key.toString('latin1');
}

/** The first `range.limit` entries of kv under `edits`. `edits` may grow while this runs; what it holds in the end counts. */
export async function mergeScan(kv: Kv, range: KvRange, edits: Edits): Promise<Array<[Buffer, Buffer]>> {
  const found: Array<[Buffer, Buffer]> = [];
  let { gte, lt } = range;
  for (;;) {
    const page = await kv.scan({ ...range, gte, lt });
    for (const entry of page) found.push(entry);
    const last = page.length < range.limit ? undefined : page[page.length - 1]![0];
    const merged = merge(found, edits, { last, reverse: range.reverse === true });
    if (last === undefined || merged.length >= range.limit) return merged.slice(0, range.limit);
    if (range.reverse) lt = last;
    else gte = Buffer.concat([last, Buffer.alloc(1)]);
  }
}

/** Entries of `found` under `edits`, none beyond `last` when given: what lies there in the store has not been read yet. */
function merge(
  found: ReadonlyArray<[Buffer, Buffer]>,
  edits: Edits,
  { last, reverse }: { last: Buffer | undefined; reverse: boolean },
): Array<[Buffer, Buffer]> {
  if (edits.size === 0) return found.slice();
  const sign = reverse ? -1 : 1;
  const merged = found.filter(([key]) => !edits.has(keyText(key)));
  for (const { key, value } of edits.values()) {
    if (value !== undefined && (last === undefined || sign * key.compare(last) <= 0)) merged.push([key, value]);
  }
  return merged.sort(([a], [b]) => sign * a.compare(b));
}
