// What every Transport does, TCP or simulated.
import test from 'ava';
import { deferred } from '../../src/lib/deferred.js';
import type { Connection, Transport } from '../../src/lib/transport.js';
import { HARNESSES } from './harness.js';

const MiB = 1024 * 1024;

/** Two ends of one connection, and what closes the listener. */
async function connected(transport: Transport, host: string): Promise<{ near: Connection; far: Connection }> {
  const accepted = deferred<Connection>();
  const listener = await transport.listen(`${host}:0`, accepted.resolve);
  const near = await transport.connect(listener.address, 1_000);
  near.onData = () => undefined;
  const far = await accepted.promise;
  far.onData = () => undefined;
  await listener.close();
  return { near, far };
}

/** Settles with the first `count` bytes. */
function received(connection: Connection, count: number): Promise<Buffer> {
  const result = deferred<Buffer>();
  const pieces: Buffer[] = [];
  let total = 0;
  connection.onData = piece => {
    pieces.push(piece);
    total += piece.length;
    if (total >= count) result.resolve(Buffer.concat(pieces));
  };
  return result.promise;
}

function closed(connection: Connection): Promise<Error | undefined> {
  const result = deferred<Error | undefined>();
  connection.onClose = result.resolve;
  return result.promise;
}

for (const [name, on] of Object.entries(HARNESSES)) {
  test(`${name} transport: bytes arrive whole and in order, both ways`, t =>
    on(t, async ({ platform: { transport }, host }) => {
      const { near, far } = await connected(transport, host);
      const sent = Array.from({ length: 200 }, (_, i) => Buffer.alloc(i * 37, i));
      const there = received(far, Buffer.concat(sent).length);
      const back = received(near, 4);

      for (let i = 0; i < sent.length; i += 2) near.send(sent.slice(i, i + 2));
      far.send([Buffer.from('pong')]);

      t.deepEqual(await there, Buffer.concat(sent));
      t.is((await back).toString(), 'pong');
      near.close();
      await closed(far);
    }));

  test(`${name} transport: a flushing close sends everything first, and both ends hear of it without an error`, t =>
    on(t, async ({ platform: { transport }, host }) => {
      const { near, far } = await connected(transport, host);
      const all = received(far, 8 * MiB);
      const ends = Promise.all([closed(near), closed(far)]);

      near.send([Buffer.alloc(8 * MiB, 1)]);
      near.close({ flush: true });
      near.send([Buffer.from('too late')]);

      t.is((await all).length, 8 * MiB);
      t.deepEqual(await ends, [undefined, undefined]);
      t.is(near.queuedBytes, 0);
      near.close();
    }));

  test(`${name} transport: a paused receiver holds the sender back, and the drain is told after it goes on`, t =>
    on(t, async ({ platform: { transport }, host }) => {
      const { near, far } = await connected(transport, host);
      const drained = deferred<void>();
      near.onDrain = () => drained.resolve();
      const sizeBytes = 32 * MiB;
      far.pause();

      near.send([Buffer.alloc(sizeBytes, 1)]);
      // Queued bytes are counted until the operating system has taken them; most of this cannot be, for nobody reads.
      t.true(near.queuedBytes > 16 * MiB);
      const all = received(far, sizeBytes);
      far.resume();

      t.is((await all).length, sizeBytes);
      await drained.promise;
      t.is(near.queuedBytes, 0);
      near.close();
      await closed(far);
    }));

  test(`${name} transport: connecting where nobody listens is refused`, t =>
    on(t, async ({ platform: { transport }, host }) => {
      const listener = await transport.listen(`${host}:0`, () => undefined);
      await listener.close();
      await listener.close();

      await t.throwsAsync(transport.connect(listener.address, 1_000), { code: 'ECONNREFUSED' });
    }));

  test(`${name} transport: an address in use cannot be listened on`, t =>
    on(t, async ({ platform: { transport }, host }) => {
      const listener = await transport.listen(`${host}:0`, () => undefined);

      await t.throwsAsync(
        transport.listen(listener.address, () => undefined),
        { code: 'EADDRINUSE' },
      );

      await listener.close();
    }));

  test(`${name} transport: open connections outlive their listener, and its port is free at once`, t =>
    on(t, async ({ platform: { transport }, host }) => {
      const accepted = deferred<Connection>();
      const listener = await transport.listen(`${host}:0`, accepted.resolve);
      const near = await transport.connect(listener.address, 1_000);
      const answer = received(near, 2);
      const far = await accepted.promise;
      far.onData = () => undefined;

      await listener.close();
      const again = await transport.listen(listener.address, () => undefined);
      far.send([Buffer.from('ok')]);

      t.is((await answer).toString(), 'ok');
      await again.close();
      far.close();
      await closed(near);
    }));

  test(`${name} transport: text that is no address is refused`, t =>
    on(t, async ({ platform: { transport } }) => {
      await t.throwsAsync(async () => transport.connect('nonsense', 100), { code: 'EINVAL' });
    }));
}
