import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { mountProblem, testUnless } from '../cluster/needs.js';

const mountTest = testUnless(await mountProblem());

test('lines go to the file as JSON from the level on, and an exit loses none', async t => {
  const root = await mkdtemp(join(tmpdir(), 'gfs-log-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const file = join(root, 'log');
  const module = new URL('../../src/cli/pino-logger.js', import.meta.url).href;
  const program = `
    import { pinoLogger } from '${module}';
    const logger = pinoLogger({ level: 'info', file: '${file}', fields: { program: 'test' } });
    logger.debug({}, 'not this');
    logger.child({ chunk: 7 }).warn({ error: new Error('why') }, 'careful');
    process.exit(0);
  `;

  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]);

  const lines = (await readFile(file, 'utf8')).trim().split('\n');
  t.is(lines.length, 1);
  const line = JSON.parse(lines[0]!);
  t.like(line, { level: 'warn', program: 'test', chunk: 7, msg: 'careful', error: { message: 'why' } });
});

mountTest('a full disk takes no lines and ends no process; when there is room they follow', async t => {
  const root = await mkdtemp(join(tmpdir(), 'gfs-log-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const run = promisify(execFile);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', root]);
  t.teardown(() => run('umount', ['-l', root]));
  const module = new URL('../../src/cli/pino-logger.js', import.meta.url).href;
  const program = `
    import { rmSync, writeFileSync } from 'node:fs';
    import { setTimeout as pause } from 'node:timers/promises';
    import { pinoLogger } from '${module}';
    const logger = pinoLogger({ level: 'info', file: '${root}/log' });
    try { writeFileSync('${root}/filler', Buffer.alloc(1024 * 1024)); } catch {}
    for (let i = 0; i < 5; i++) {
      logger.info({ i, text: 'x'.repeat(5000) }, 'into a full disk');
      await pause(20);
    }
    rmSync('${root}/filler');
    logger.info({}, 'there is room');
    await pause(100);
  `;

  await run(process.execPath, ['--input-type=module', '-e', program]);

  const lines = (await readFile(join(root, 'log'), 'utf8')).trim().split('\n');
  t.is(JSON.parse(lines.at(-1)!).msg, 'there is room');
});
