// Settings as tables: one row holds name, kind, default, bounds and help, and flags, help texts and checks derive from it.
// It reads no command line itself (src/cli does) and knows no role's settings.

export type SettingKind = 'duration' | 'size' | 'count' | 'text' | 'switch';

export interface Setting<T = unknown> {
  kind: SettingKind;
  /** undefined: there is no default; the program decides what absence means. Durations in ms, sizes in bytes. */
  default: T;
  /** Bounds, inclusive, in ms, bytes or units. */
  min?: number;
  max?: number;
  help: string;
  /** Placeholder in help texts, such as HOST:PORT. */
  placeholder?: string;
}

export type SettingTable = Record<string, Setting>;
/** The values of a table: numbers (ms, bytes, counts), texts, booleans. */
export type SettingValues<T extends SettingTable> = { [K in keyof T]: T[K] extends Setting<infer V> ? V : never };

export function duration(
  defaultMs: number,
  help: string,
  bounds: { min?: number; max?: number } = {},
): Setting<number> {
  return { kind: 'duration', default: defaultMs, min: bounds.min ?? 0, max: bounds.max ?? 365 * 86_400_000, help };
}

export function sizeSetting(
  defaultBytes: number,
  help: string,
  bounds: { min?: number; max?: number } = {},
): Setting<number> {
  return { kind: 'size', default: defaultBytes, min: bounds.min ?? 0, max: bounds.max ?? 2 ** 50, help };
}

export function countSetting(
  defaultCount: number,
  help: string,
  bounds: { min?: number; max?: number } = {},
): Setting<number> {
  return { kind: 'count', default: defaultCount, min: bounds.min ?? 0, max: bounds.max ?? 2 ** 31, help };
}

export function textSetting(
  defaultText: string | undefined,
  help: string,
  placeholder = 'TEXT',
): Setting<string | undefined> {
  return { kind: 'text', default: defaultText, help, placeholder };
}

export function switchSetting(help: string): Setting<boolean> {
  return { kind: 'switch', default: false, help };
}

/** All defaults of a table, with `overrides` on top. */
export function settingValues<T extends SettingTable>(
  table: T,
  overrides: Partial<SettingValues<T>> = {},
): SettingValues<T> {
  const values: Record<string, unknown> = {};
  for (const name of Object.keys(table))
    values[name] = (overrides as Record<string, unknown>)[name] ?? table[name]!.default;
  return values as SettingValues<T>;
}

const DURATION_UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_UNITS: Record<string, number> = {
  '': 1,
  B: 1,
  K: 1024,
  KiB: 1024,
  M: 1024 ** 2,
  MiB: 1024 ** 2,
  G: 1024 ** 3,
  GiB: 1024 ** 3,
  T: 1024 ** 4,
  TiB: 1024 ** 4,
  kB: 1000,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
};

/** The value of `text` as this setting takes it, or a sentence that says what is wrong with it (without naming the option). */
export function parseSetting(setting: Setting, text: string): { value: unknown } | { problem: string } {
  if (setting.kind === 'text') return text === '' ? { problem: 'must not be empty' } : { value: text };
  if (setting.kind === 'switch') return { value: text === 'true' || text === '' };
  const match = /^(\d+(?:\.\d+)?)([A-Za-z]*)$/.exec(text);
  const units = setting.kind === 'duration' ? DURATION_UNITS : setting.kind === 'size' ? SIZE_UNITS : { '': 1 };
  const unit = match ? (units as Record<string, number>)[match[2]!] : undefined;
  if (!match || unit === undefined) {
    const example = setting.kind === 'duration' ? '300ms, 2s, 1d' : setting.kind === 'size' ? '64KiB, 1MiB' : '3';
    return { problem: `is not a ${setting.kind} (write it like ${example})` };
  }
  const value = Math.round(Number(match[1]) * unit);
  if (value < (setting.min ?? 0))
    return { problem: `is too small, at least ${showSetting(setting, setting.min ?? 0)}` };
  if (value > (setting.max ?? Number.MAX_SAFE_INTEGER))
    return { problem: `is too large, at most ${showSetting(setting, setting.max!)}` };
  return { value };
}

/** A value as people write it: 64MiB, 2s. */
export function showSetting(setting: Setting, value: unknown): string {
  if (typeof value !== 'number') return String(value);
  if (setting.kind === 'duration')
    return showUnits(
      value,
      [
        ['d', 86_400_000],
        ['h', 3_600_000],
        ['m', 60_000],
        ['s', 1000],
      ],
      'ms',
    );
  if (setting.kind === 'size')
    return showUnits(
      value,
      [
        ['TiB', 1024 ** 4],
        ['GiB', 1024 ** 3],
        ['MiB', 1024 ** 2],
        ['KiB', 1024],
      ],
      'B',
    );
  return String(value);
}

function showUnits(value: number, units: Array<[string, number]>, rest: string): string {
  for (const [name, factor] of units) if (value >= factor && value % factor === 0) return `${value / factor}${name}`;
  return `${value}${rest}`;
}
