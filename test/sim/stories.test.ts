// What the protocol does when things go wrong, as transcripts: who says what to whom. Read the snapshot (snapshots/stories.test.ts.md) as prose;
// after a deliberate change: npx ava dist/test/sim/stories.test.js --update-snapshots.
import test from 'ava';
import { Story } from './story.js';

test.serial('a plain append goes down the chain and is acknowledged back up (§3.1, §3.2)', async t => {
  const story = new Story(1);
  const file = await story.begin();

  story.say('The first append of a file: the master makes a chunk, its first lease comes with it.');
  await story.append(file, 'hello');
  story.say('The next one needs no master.');
  await story.append(file, ' world');
  await story.read(file);

  t.snapshot(story.lines.join('\n'));
});

test.serial('the primary dies after the tail has the bytes: the append stands, once', async t => {
  const story = new Story(2);
  const file = await story.begin();
  await story.append(file, 'one ');

  story.once({ kind: 'replicate', what: 'answer', at: 'tail' }, () => {
    story.say('The tail has the bytes. The primary dies before it can say so.');
    story.machine('primary').kill();
  });
  await story.append(file, 'two ');
  await story.append(file, 'three');
  await story.read(file);

  t.snapshot(story.lines.join('\n'));
});

test.serial('a secondary is cut off: the chunk is sealed without it and the file goes on', async t => {
  const story = new Story(3);
  const file = await story.begin();
  await story.append(file, 'one ');

  story.say('The secondary is cut off from everybody.');
  const others = story.cluster.machines
    .filter(machine => machine !== story.machine('secondary'))
    .map(({ name }) => name);
  story.cluster.network.partition([story.machine('secondary').name], others);
  await story.append(file, 'two ');
  story.say('The secondary is back; what it misses is copied.');
  story.cluster.network.heal();
  await story.pass(6_000);
  await story.read(file);

  t.snapshot(story.lines.join('\n'));
});

test.serial('the old primary comes back and acknowledges nothing', async t => {
  const story = new Story(4);
  const file = await story.begin();
  await story.append(file, 'one ');

  story.say('The primary is cut off from the master and its chain, but not from the client.');
  story.cluster.network.partition(
    [story.machine('primary').name],
    ['master', story.machine('secondary').name, story.machine('tail').name],
  );
  await story.append(file, 'two ');
  story.say('It comes back.');
  story.cluster.network.heal();
  await story.pass(6_000);
  await story.append(file, 'three');
  await story.read(file);

  t.snapshot(story.lines.join('\n'));
});

test.serial('a client retries into a sealed chunk and learns that its append stands there', async t => {
  const story = new Story(5);
  const file = await story.begin();
  await story.append(file, 'one ');

  story.once({ kind: 'append', what: 'call', at: 'primary' }, () => {
    story.say('The answer of the primary will not reach the client.');
    story.cluster.network.cut(story.machine('primary').name, 'c1', { oneWay: true });
  });
  await story.append(file, 'two ');
  story.cluster.network.heal();
  await story.append(file, 'three');
  await story.read(file);

  t.snapshot(story.lines.join('\n'));
});

test.serial('the master dies while it seals: its successor begins the seal again', async t => {
  const story = new Story(6);
  const file = await story.begin();
  await story.append(file, 'one ');

  story.say('The tail dies; the append cannot be acknowledged.');
  story.machine('tail').kill();
  story.once({ kind: 'fence', what: 'answer', at: 'primary' }, () => {
    story.say('The version is raised, the primary is fenced, the length is not recorded yet: the master dies.');
    story.machine('master').kill();
    story.simulator.schedule(200, () => {
      story.say('The master is back.');
      story.machine('master').start();
    });
  });
  await story.append(file, 'two ');
  await story.read(file);

  t.snapshot(story.lines.join('\n'));
});

test.serial(
  'an old primary holds more of its chunk than ever counted: who knows that the file is longer does not read it there (I7)',
  async t => {
    const story = new Story(7, { knowledgeMs: 60_000 });
    const file = await story.begin();
    const { machine: another, file: others } = await story.join('c9');
    await story.append(file, 'one ');
    await story.read(file);

    story.say(
      'The primary is cut off from the master and its chain, but not from the clients. What it has of an append nobody else will ever have.',
    );
    story.cluster.network.partition(
      [story.machine('primary').name],
      ['master', story.machine('secondary').name, story.machine('tail').name],
    );
    void others.append([Buffer.from('zwei '.repeat(5))], { split: false });
    await story.pass(50);
    another.kill();
    await story.append(file, 'three');
    story.say('The client has seen the first chunk open, and knows that the file has 9 bytes.');
    await story.read(file, 9);

    t.is(story.lines.at(-1), 'client reads "one three"');
    t.snapshot(story.lines.join('\n'));
  },
);
