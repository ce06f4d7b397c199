// Options of the command lines, derived from tables of settings (lib/settings.ts) and the few that all programs share.
// A wrong value is refused with USAGE naming option and value before anything is created.
import { readFileSync, statSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { parseSetting, type Setting, type SettingTable, type SettingValues, showSetting } from '../lib/settings.js';
import { usageError } from './exit.js';
import { LOG_LEVELS, type LogLevel } from './pino-logger.js';

const ADDRESS_PLACEHOLDER = 'HOST:PORT';
export const DEFAULT_MASTER = '127.0.0.1:9400';
/** A shared secret is a line of text or some bytes, not a film. */
const SECRET_BYTES_MAX = 4096;

/** Adds one option per row: `rereplicateAfter` becomes --rereplicate-after. */
export function addSettings(command: Command, table: SettingTable): Command {
  for (const [key, setting] of Object.entries(table)) command.addOption(settingOption(key, setting));
  return command;
}

/** The values of a table out of parsed options. */
export function settingsFrom<T extends SettingTable>(options: Record<string, unknown>, table: T): SettingValues<T> {
  const values: Record<string, unknown> = {};
  for (const key of Object.keys(table)) values[key] = options[optionKey(key)] ?? table[key]!.default;
  return values as SettingValues<T>;
}

/** Units at the end of a key belong to the code: opTimeoutMs is --op-timeout 2s. */
export function optionName(key: string): string {
  return `--${key.replace(/(?:Ms|Bytes)$/, '').replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`;
}

/** What commander calls the option of this key. */
function optionKey(key: string): string {
  return optionName(key)
    .slice(2)
    .replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** `--name HOST:PORT`, from the environment when absent. */
export function addressOption(name: string, help: string, environment?: string): Option {
  const option = new Option(`--${name} <${ADDRESS_PLACEHOLDER}>`, help).argParser(text =>
    parseAddressOption(`--${name}`, text),
  );
  return environment === undefined ? option : option.env(environment);
}

export interface SecretFile {
  path: string;
  content: Buffer;
}

export interface CommonOptions {
  secretFile?: SecretFile;
  logLevel: LogLevel;
  logFile?: string;
}

/** --secret-file, --log-level, --log-file. */
export function addCommonOptions(command: Command, defaults: { logLevel: LogLevel }): Command {
  return command
    .addOption(
      new Option('--secret-file <FILE>', 'file with the secret that all processes of the cluster share')
        .env('GFS_SECRET_FILE')
        .argParser(readSecret),
    )
    .addOption(
      new Option('--log-level <LEVEL>', `how much to log: ${LOG_LEVELS.join(', ')}`)
        .env('GFS_LOG_LEVEL')
        .default(defaults.logLevel)
        .argParser(text => {
          if (!(LOG_LEVELS as readonly string[]).includes(text))
            throw usageError(`--log-level ${text}: is not one of ${LOG_LEVELS.join(', ')}`);
          return text;
        }),
    )
    .option('--log-file <FILE>', 'append the log to this file instead of standard error');
}

/** A directory given on the command line may be absent, but not be something else. */
export function checkDirectoryOption(option: string, path: string): void {
  if (path === '') throw usageError(`${option} : must not be empty`);
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats && !stats.isDirectory()) throw usageError(`${option} ${path}: is not a directory`);
}

/** Throws USAGE unless `text` is HOST:PORT with a port of 0 to 65535. */
export function parseAddressOption(option: string, text: string): string {
  const match = /^(\[[0-9A-Fa-f:.]+\]|[^:[\]\s]+):(\d{1,9})$/.exec(text);
  if (!match) throw usageError(`${option} ${text}: is not HOST:PORT (write it like 127.0.0.1:9400)`);
  if (Number(match[2]) > 65_535) throw usageError(`${option} ${text}: the port is too large, at most 65535`);
  return text;
}

/** The value of one setting given as text. Throws USAGE. */
export function checkSetting(option: string, setting: Setting, text: string): unknown {
  const parsed = parseSetting(setting, text);
  if ('problem' in parsed) throw usageError(`${option} ${text}: ${parsed.problem}`);
  if (setting.placeholder === ADDRESS_PLACEHOLDER) return parseAddressOption(option, text);
  return parsed.value;
}

function settingOption(key: string, setting: Setting): Option {
  const name = optionName(key);
  if (setting.kind === 'switch') return new Option(name, setting.help).default(false);
  const placeholder = setting.placeholder ?? setting.kind.toUpperCase();
  const option = new Option(`${name} <${placeholder}>`, setting.help);
  if (setting.default !== undefined) option.default(setting.default, showSetting(setting, setting.default));
  return option.argParser(text => checkSetting(name, setting, text));
}

function readSecret(path: string): SecretFile {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (error) {
    throw usageError(`--secret-file ${path}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  // A newline at the end comes from the editor and is not part of it.
  const end = content.at(-1) === 0x0a ? content.length - 1 : content.length;
  if (end === 0) throw usageError(`--secret-file ${path}: is empty`);
  if (end > SECRET_BYTES_MAX) throw usageError(`--secret-file ${path}: is larger than ${SECRET_BYTES_MAX} bytes`);
  return { path, content: content.subarray(0, end) };
}
