// Options derived from tables of settings, and lists of mount options.

import test from 'ava';
import { Command } from 'commander';
import { CHUNKSERVER_SETTINGS } from '../../src/chunkserver/settings.js';
import { failureOf } from '../../src/cli/exit.js';
import { parseMountOptions } from '../../src/cli/mount-options.js';
import { addSettings, optionName, parseAddressOption, settingsFrom } from '../../src/cli/options.js';
import { countSetting, duration, sizeSetting, switchSetting, textSetting } from '../../src/lib/settings.js';
import { MASTER_SETTINGS } from '../../src/master/settings.js';
import { MOUNT_SETTINGS } from '../../src/mount/settings.js';

const TABLE = {
  listen: textSetting('127.0.0.1:1', 'an address', 'HOST:PORT'),
  deadAfterMs: duration(10_000, 'a time', { min: 100 }),
  chunkSizeBytes: sizeSetting(1024, 'a size', { max: 4096 }),
  copies: countSetting(3, 'a number', { min: 1 }),
  eager: switchSetting('a switch'),
};

function parse(...args: string[]): ReturnType<typeof settingsFrom<typeof TABLE>> {
  const command = addSettings(new Command().exitOverride(), TABLE).parse(args, { from: 'user' });
  return settingsFrom(command.opts(), TABLE);
}

test('an option is the key in kebab case without its unit', t => {
  t.is(optionName('rereplicateAfter'), '--rereplicate-after');
  t.is(optionName('deadAfterMs'), '--dead-after');
  t.is(optionName('chunkSizeBytes'), '--chunk-size');
});

test('absent options have their defaults, given ones are read with their units', t => {
  t.deepEqual(parse(), { listen: '127.0.0.1:1', deadAfterMs: 10_000, chunkSizeBytes: 1024, copies: 3, eager: false });
  t.deepEqual(parse('--dead-after', '2s', '--chunk-size', '2KiB', '--copies', '5', '--eager', '--listen', '[::1]:0'), {
    listen: '[::1]:0',
    deadAfterMs: 2000,
    chunkSizeBytes: 2048,
    copies: 5,
    eager: true,
  });
});

test('a value that does not fit is a usage error that names option and value', t => {
  for (const [args, message] of [
    [['--dead-after', '99ms'], '--dead-after 99ms: is too small, at least 100ms'],
    [['--chunk-size', '1MiB'], '--chunk-size 1MiB: is too large, at most 4KiB'],
    [['--copies', '1.5s'], '--copies 1.5s: is not a count (write it like 3)'],
    [['--listen', 'here'], '--listen here: is not HOST:PORT (write it like 127.0.0.1:9400)'],
    [['--listen', 'host:65536'], '--listen host:65536: the port is too large, at most 65535'],
  ] as const) {
    const error = t.throws(() => parse(...args));
    t.deepEqual(failureOf(error), { message, exitCode: 2 });
  }
});

test('the tables of all roles make options without clashes, with help and a default within its bounds', t => {
  for (const table of [MASTER_SETTINGS, CHUNKSERVER_SETTINGS, MOUNT_SETTINGS]) {
    const names = Object.keys(table).map(optionName);
    t.is(new Set(names).size, names.length);
    for (const [key, setting] of Object.entries(table)) {
      t.regex(setting.help, /\w/, key);
      if (typeof setting.default !== 'number') continue;
      t.true(setting.default >= (setting.min ?? 0), `${key} is at least its minimum`);
      t.true(setting.default <= (setting.max ?? Number.MAX_SAFE_INTEGER), `${key} is at most its maximum`);
    }
  }
});

test('addresses have a host and a port', t => {
  for (const good of ['127.0.0.1:9400', 'host.example:0', '[::1]:65535']) t.is(parseAddressOption('--x', good), good);
  for (const bad of ['', 'host', ':1', 'host:', 'host:x', '::1:9', 'a b:1', 'host:-1'])
    t.throws(() => parseAddressOption('--x', bad), { code: 'USAGE' }, bad);
});

test('mount options: some are passed on, some mean nothing here, others are refused by name', t => {
  t.deepEqual(parseMountOptions(['ro,allow_other', 'fsname=mine', 'x-systemd.automount,_netdev,nofail']), {
    readOnly: true,
    options: ['allow_other', 'default_permissions'],
    sourceName: 'mine',
  });
  t.deepEqual(parseMountOptions(['ro', 'rw']), { readOnly: false, options: ['default_permissions'] });
  t.throws(() => parseMountOptions(['ro,sideways']), { code: 'USAGE', message: /sideways/ });
});
