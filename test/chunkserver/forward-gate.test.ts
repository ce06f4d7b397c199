// When small appends go on to the next replica, and with whom.
import test from 'ava';
import { ForwardGate } from '../../src/chunkserver/forward-gate.js';
import { BOUNDS } from '../../src/chunkserver/settings.js';
import { ManualClock } from '../master/manual-clock.js';

class Scene {
  readonly clock = new ManualClock();
  readonly gate = new ForwardGate(this.clock);
  readonly sent: string[] = [];
  private readonly leaves = new Map<string, () => void>();

  enter(name: string, lengthBytes = 100): void {
    this.gate.enter(lengthBytes, leave => {
      this.sent.push(name);
      this.leaves.set(name, leave);
    });
  }

  /** The turn ends. */
  turn(): Promise<void> {
    return this.clock.advance(0);
  }

  answer(...names: string[]): void {
    for (const name of names) this.leaves.get(name)!();
  }
}

test('a lone append goes on at once, and so does what comes in the same turn', async t => {
  const scene = new Scene();

  scene.enter('a');
  t.deepEqual(scene.sent, ['a']);
  scene.enter('b');
  t.deepEqual(scene.sent, ['a', 'b']);

  await scene.turn();
  scene.answer('a', 'b');
  await scene.clock.advance(BOUNDS.forwardPatienceMs);
  scene.enter('c');
  t.deepEqual(scene.sent.slice(0, 2), ['a', 'b']);
  await scene.clock.advance(BOUNDS.forwardPatienceMs);
  t.deepEqual(scene.sent, ['a', 'b', 'c']);
  await scene.turn();
  scene.answer('c');

  scene.enter('d');
  t.deepEqual(scene.sent, ['a', 'b', 'c', 'd'], 'one at a time again, nobody is waited for');
});

test('what comes while a batch is on its way goes on together, in order, once all of the batch is answered', async t => {
  const scene = new Scene();
  scene.enter('a');
  await scene.turn();
  for (const name of ['b', 'c', 'd']) {
    scene.enter(name);
    await scene.turn();
  }
  t.deepEqual(scene.sent, ['a']);

  scene.answer('a');
  await scene.clock.advance(BOUNDS.forwardPatienceMs);

  t.deepEqual(scene.sent, ['a', 'b', 'c', 'd']);
});

test('a batch waits a moment for as many as were there lately, and leaves with the last of them', async t => {
  const scene = new Scene();
  for (const name of ['a', 'b', 'c']) scene.enter(name);
  await scene.turn();
  scene.answer('a', 'b', 'c');

  scene.enter('a2');
  scene.enter('b2');
  await scene.clock.advance(BOUNDS.forwardPatienceMs / 2);
  t.deepEqual(scene.sent, ['a', 'b', 'c']);

  scene.enter('c2');
  t.deepEqual(scene.sent, ['a', 'b', 'c', 'a2', 'b2', 'c2']);
});

test('a batch that nobody joins leaves when its time is up, and the next one expects no more than that', async t => {
  const scene = new Scene();
  for (const name of ['a', 'b', 'c']) scene.enter(name);
  await scene.turn();
  scene.answer('a', 'b', 'c');

  scene.enter('a2');
  await scene.clock.advance(BOUNDS.forwardPatienceMs);
  t.deepEqual(scene.sent, ['a', 'b', 'c', 'a2']);
  await scene.turn();
  scene.answer('a2');

  scene.enter('a3');
  t.deepEqual(scene.sent, ['a', 'b', 'c', 'a2', 'a3']);
});

test('a large append does not wait for small ones on their way, but never overtakes one that waits', async t => {
  const scene = new Scene();
  const large = BOUNDS.forwardAloneBytes;
  scene.enter('small');
  await scene.turn();

  scene.enter('large', large);
  t.deepEqual(scene.sent, ['small', 'large']);

  scene.enter('waiting');
  scene.enter('large behind it', large);
  t.deepEqual(scene.sent, ['small', 'large']);
  scene.answer('small');
  await scene.clock.advance(BOUNDS.forwardPatienceMs);
  t.deepEqual(scene.sent, ['small', 'large', 'waiting', 'large behind it']);
});

test('an append that is answered at once, as one that must not go on any more, holds nobody up', async t => {
  const scene = new Scene();
  scene.enter('a');
  scene.answer('a');
  await scene.turn();

  scene.enter('b');

  t.deepEqual(scene.sent, ['a', 'b']);
});
