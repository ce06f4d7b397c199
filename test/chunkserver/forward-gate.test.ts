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
  scene.enter('c');
  t.deepEqual(scene.sent, ['a', 'b', 'c']);
});

test('what comes while a batch is on its way goes on together, in order, once all of the batch is answered', async t => {
  const scene = new Scene();
  scene.enter('a');
  scene.enter('b');
  await scene.turn();

  for (const name of ['c', 'd', 'e']) {
    scene.enter(name);
    await scene.turn();
  }
  scene.answer('b');
  t.deepEqual(scene.sent, ['a', 'b']);

  scene.answer('a');
  t.deepEqual(scene.sent, ['a', 'b', 'c', 'd', 'e']);
});

test('a batch that is answered within its own turn lets the next one go when the turn ends', async t => {
  const scene = new Scene();
  scene.enter('a');
  scene.answer('a');
  await scene.turn();

  scene.enter('b');

  t.deepEqual(scene.sent, ['a', 'b']);
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
  t.deepEqual(scene.sent, ['small', 'large', 'waiting', 'large behind it']);
});
