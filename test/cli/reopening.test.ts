// A server that is replaced by another one in its process: on the same address, again and again while room comes and goes, and never after it was stopped.
import test from 'ava';
import { Reopening, type Server, type ServerEvents } from '../../src/cli/reopening.js';
import { silentLogger } from '../../src/lib/logger.js';
import { GfsError } from '../../src/protocol/errors.js';
import { ManualClock } from '../master/manual-clock.js';

class FakeServer implements Server {
  isStopped = false;

  constructor(
    readonly events: ServerEvents,
    readonly listen: string | undefined,
    private readonly failure: Error | undefined,
  ) {}

  async start(): Promise<string> {
    if (this.failure) throw this.failure;
    return this.listen ?? 'host:1234';
  }

  async stop(): Promise<void> {
    this.isStopped = true;
  }
}

function scene() {
  const clock = new ManualClock();
  const servers: FakeServer[] = [];
  /** What the next starts fail with. */
  const failures: Array<Error | undefined> = [];
  const reopening = new Reopening({ clock, logger: silentLogger }, (events, listen) => {
    const server = new FakeServer(events, listen, failures.shift());
    servers.push(server);
    return server;
  });
  return { clock, servers, failures, reopening };
}

const full = (): Error => new GfsError('NO_SPACE', 'full');

test('with room again the server is stopped and another one started at its address', async t => {
  const { clock, servers, reopening } = scene();
  t.is(await reopening.start(), 'host:1234');

  servers[0]!.events.onRoom();
  servers[0]!.events.onRoom();
  await clock.advance(10);

  t.is(servers.length, 2);
  t.true(servers[0]!.isStopped);
  t.is(servers[1]!.listen, 'host:1234');
  await reopening.stop();
  t.true(servers[1]!.isStopped);
});

test('while the room is gone again it is tried with pauses, and not any more once it is stopped', async t => {
  const { clock, servers, failures, reopening } = scene();
  await reopening.start();
  failures.push(full(), full(), full());

  servers[0]!.events.onRoom();
  await clock.advance(3_000);
  t.is(servers.length, 3, 'one at once, one after two seconds');
  await reopening.stop();
  await clock.advance(10_000);

  t.is(servers.length, 3);
});

test('what cannot be started again for another reason has failed; what the one before says then counts no more', async t => {
  const { clock, servers, failures, reopening } = scene();
  await reopening.start();
  failures.push(new GfsError('WRONG_DATA', 'damaged'));

  servers[0]!.events.onRoom();
  await clock.advance(10);
  servers[0]!.events.onFailure(new Error('too late'));

  t.like(await t.throwsAsync(reopening.ended.promise), { code: 'WRONG_DATA' });
});
