import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ShmWitness } from '../../src/lib/shm-witness.js';

async function temporaryDirectory(t: ExecutionContext): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'gfs-witness-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  return root;
}

test('a later process of the same boot recalls the number, one of another boot does not', async t => {
  const root = await temporaryDirectory(t);
  const bootIdPath = join(root, 'boot_id');
  await writeFile(bootIdPath, 'boot-1\n');
  const before = new ShmWitness(join(root, 'shm'), bootIdPath);
  before.raise('server', 41);
  before.raise('server', 42);

  t.is(new ShmWitness(join(root, 'shm'), bootIdPath).recall('server'), 42);

  await writeFile(bootIdPath, 'boot-2\n');
  const after = new ShmWitness(join(root, 'shm'), bootIdPath);
  t.is(after.recall('server'), undefined);
  after.raise('server', 1);
  t.is(new ShmWitness(join(root, 'shm'), bootIdPath).recall('server'), 1);
});

test('without shared memory nothing is recalled, also not what this process raised', t => {
  const witness = new ShmWitness('/nonexistent/shm');

  witness.raise('server', 5);

  t.is(witness.recall('server'), undefined);
});

test('a file that is too short is not believed', async t => {
  const root = await temporaryDirectory(t);
  new ShmWitness(join(root, 'shm')).raise('server', 5);
  await writeFile(join(root, 'shm', 'w-server'), 'abc');

  t.is(new ShmWitness(join(root, 'shm')).recall('server'), undefined);
});
