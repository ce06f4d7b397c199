// A process of its own that changes files on one mount and looks at them on another, and prints as JSON how long each change took to show, in
// milliseconds after the change returned. Usage: node change-and-look.js HERE THERE ROUNDS. It serves neither mount, so it may touch both.
import fs from 'node:fs';
import path from 'node:path';

const [here, there, rounds] = process.argv.slice(2) as [string, string, string];
const GIVE_UP_MS = 20_000;

/** What a place looks like from a mount: its kind and mode with its size, or why it cannot be seen. */
function look(mount: string, name: string): string {
  try {
    const { mode, size, nlink } = fs.statSync(path.join(mount, name));
    return `${mode.toString(8)} ${size} ${nlink}`;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown';
  }
}

const at = (name: string): string => path.join(here, name);

const CHANGES: Record<string, { prepare: (name: string) => void; change: (name: string) => void }> = {
  // Nobody holds a lease after the cut, so the other mount may cache the size; the master tells it when a lease is given.
  'append to a file at rest': {
    prepare: name => {
      fs.writeFileSync(at(name), 'one\n');
      fs.truncateSync(at(name), 2);
    },
    change: name => fs.appendFileSync(at(name), 'two\n'),
  },
  // This one passes the master by.
  'append under a lease': {
    prepare: name => {
      fs.writeFileSync(at(name), 'one\n');
      fs.appendFileSync(at(name), 'two\n');
    },
    change: name => fs.appendFileSync(at(name), 'three\n'),
  },
  truncate: { prepare: name => fs.writeFileSync(at(name), 'one\n'), change: name => fs.truncateSync(at(name), 1) },
  chmod: { prepare: name => fs.writeFileSync(at(name), 'x'), change: name => fs.chmodSync(at(name), 0o600) },
  link: { prepare: name => fs.writeFileSync(at(name), 'x'), change: name => fs.linkSync(at(name), at(`${name}-2`)) },
  unlink: { prepare: name => fs.writeFileSync(at(name), 'x'), change: name => fs.unlinkSync(at(name)) },
  'rename away': {
    prepare: name => fs.writeFileSync(at(name), 'x'),
    change: name => fs.renameSync(at(name), at(`${name}-2`)),
  },
  'rename over': {
    prepare: name => {
      fs.writeFileSync(at(name), 'x');
      fs.writeFileSync(at(`${name}-2`), 'much longer');
    },
    change: name => fs.renameSync(at(`${name}-2`), at(name)),
  },
  'mkdir and rmdir': { prepare: name => fs.mkdirSync(at(name)), change: name => fs.rmdirSync(at(name)) },
};

const shownAfterMs: Record<string, number[]> = {};
for (const [what, { prepare, change }] of Object.entries(CHANGES)) {
  shownAfterMs[what] = [];
  for (let round = 0; round < Number(rounds); round++) {
    const name = `${what.replaceAll(' ', '-')}-${round}`;
    prepare(name);
    // Into the caches of the other mount and its kernel.
    for (let i = 0; i < 3; i++) look(there, name);
    change(name);
    const wanted = look(here, name);
    const started = performance.now();
    while (look(there, name) !== wanted && performance.now() - started < GIVE_UP_MS)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    shownAfterMs[what]!.push(Math.round((performance.now() - started) * 10) / 10);
  }
}
console.log(JSON.stringify(shownAfterMs));
