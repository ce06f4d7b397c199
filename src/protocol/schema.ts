// A small language for the shape of messages: each schema checks an unknown value and carries its static type. It never converts
// or repairs; what does not fit is refused with BAD_MESSAGE naming the field.
import { GfsError } from './errors.js';

export interface Schema<T> {
  /** Returns `value` when it fits; throws BAD_MESSAGE naming `path` otherwise. */
  check(value: unknown, path: string): T;
}

export type Infer<S> = S extends Schema<infer T> ? T : never;

function refuse(path: string, expected: string): never {
  throw new GfsError('BAD_MESSAGE', `${path}: expected ${expected}`);
}

function schema<T>(check: (value: unknown, path: string) => T): Schema<T> {
  return { check };
}

/** A whole number in [min, max]. */
export function integer<T extends number = number>(min = 0, max = Number.MAX_SAFE_INTEGER): Schema<T> {
  return schema((value, path) => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
      refuse(path, `a whole number from ${min} to ${max}`);
    }
    return value as T;
  });
}

/** A finite number in [min, max]. */
export function real(min = -Number.MAX_VALUE, max = Number.MAX_VALUE): Schema<number> {
  return schema((value, path) => {
    if (typeof value !== 'number' || !(value >= min && value <= max)) refuse(path, `a number from ${min} to ${max}`);
    return value as number;
  });
}

/** Text of at most `max` UTF-16 units (limits in bytes are checked where they matter). */
export function text<T extends string = string>(max: number): Schema<T> {
  return schema((value, path) => {
    if (typeof value !== 'string' || value.length > max) refuse(path, `text of at most ${max} characters`);
    return value as T;
  });
}

/** 16 hex digits: ids of servers, writers, sessions, clients. */
export function id16<T extends string = string>(): Schema<T> {
  return schema((value, path) => {
    if (typeof value !== 'string' || !/^[0-9a-f]{16}$/.test(value)) refuse(path, '16 hex digits');
    return value as T;
  });
}

export const boolean: Schema<boolean> = schema((value, path) => {
  if (typeof value !== 'boolean') refuse(path, 'true or false');
  return value;
});

/** A 64-bit integer, for nanoseconds and lock owners. */
export const bigint: Schema<bigint> = schema((value, path) => {
  if (typeof value !== 'bigint') refuse(path, 'a 64-bit integer');
  return value;
});

export function bytes(max: number): Schema<Buffer> {
  return schema((value, path) => {
    if (!(value instanceof Uint8Array) || value.length > max) refuse(path, `at most ${max} bytes`);
    return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  });
}

export function oneOf<const T extends readonly string[]>(...values: T): Schema<T[number]> {
  return schema((value, path) => {
    if (!values.includes(value as string)) refuse(path, `one of ${values.join(', ')}`);
    return value as T[number];
  });
}

export function list<T>(item: Schema<T>, max: number): Schema<T[]> {
  return schema((value, path) => {
    if (!Array.isArray(value) || value.length > max) refuse(path, `a list of at most ${max}`);
    for (let i = 0; i < value.length; i++) value[i] = item.check(value[i], `${path}[${i}]`);
    return value as T[];
  });
}

/** A field that may be absent. */
export function optional<T>(inner: Schema<T>): Schema<T | undefined> & { optional: true } {
  return {
    optional: true,
    check: (value, path) => (value === undefined || value === null ? undefined : inner.check(value, path)),
  };
}

type Fields = Record<string, Schema<unknown>>;
type OptionalKeys<F extends Fields> = { [K in keyof F]: F[K] extends { optional: true } ? K : never }[keyof F];
type Shape<F extends Fields> = { [K in Exclude<keyof F, OptionalKeys<F>>]: Infer<F[K]> } & {
  [K in OptionalKeys<F>]?: Infer<F[K]>;
};

/** An object with these fields; unknown ones are ignored, so that a newer peer may say more. */
export function object<F extends Fields>(fields: F): Schema<{ [K in keyof Shape<F>]: Shape<F>[K] }> {
  const names = Object.keys(fields);
  return schema((value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(path, 'an object');
    const record = value as Record<string, unknown>;
    for (const name of names) {
      const checked = fields[name]!.check(record[name], `${path}.${name}`);
      if (checked !== undefined) record[name] = checked;
      else if (name in record) delete record[name];
    }
    return record as { [K in keyof Shape<F>]: Shape<F>[K] };
  });
}
