// Calls over real loopback connections: order, errors, deadlines, secrets, and peers that misbehave.
import net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { type LogFields, type Logger, silentLogger } from '../../src/lib/logger.js';
import type { Platform } from '../../src/lib/platform.js';
import { SystemClock } from '../../src/lib/system-clock.js';
import { SystemRandom } from '../../src/lib/system-random.js';
import { TcpTransport } from '../../src/lib/tcp-transport.js';
import { GfsError, hasCode } from '../../src/protocol/errors.js';
import { encodeFrame, FRAME, HEADER_BYTES } from '../../src/protocol/frame.js';
import { encodeBody } from '../../src/protocol/wire-values.js';
import { type PeerOptions, RpcPeers } from '../../src/rpc/peer.js';
import { RpcServer, type RpcServerOptions } from '../../src/rpc/server.js';
import type { Handlers } from '../../src/rpc/types.js';
import { ManualClock } from '../master/manual-clock.js';

type Served = 'keepSession' | 'read' | 'push';
const TIMEOUT = { timeoutMs: 5000 };
const token = Buffer.from('t');

function platform(parts: Partial<Platform> = {}): Platform {
  const unused = undefined as never;
  return {
    clock: new SystemClock(),
    random: new SystemRandom(),
    transport: new TcpTransport(),
    disk: unused,
    kv: unused,
    witness: unused,
    logger: silentLogger,
    ...parts,
  };
}

/** Keeps the warnings of a server. */
function warnings(lines: LogFields[]): Logger {
  const logger: Logger = { ...silentLogger, warn: fields => void lines.push(fields), child: () => logger };
  return logger;
}

interface Setup {
  address: string;
  peers: (options?: Partial<PeerOptions>) => RpcPeers;
  server: RpcServer<Served>;
  seen: string[];
  /** What the server warned of. */
  warned: LogFields[];
}

async function setup(
  t: ExecutionContext,
  handlers: Partial<Handlers<Served>> = {},
  options: Partial<RpcServerOptions<Served>> = {},
  parts: Partial<Platform> = {},
): Promise<Setup> {
  const seen: string[] = [];
  const warned: LogFields[] = [];
  const server = new RpcServer<Served>(platform({ logger: warnings(warned), ...parts }), {
    clusterId: () => 'cluster-1',
    handlers: {
      keepSession: request => {
        seen.push(request.session);
        return { body: {} };
      },
      read: (request, context) => ({ body: { lengthBytes: request.lengthBytes }, payload: context.payload }),
      push: request => {
        seen.push(`push ${request.part}`);
        return { body: {} };
      },
      ...handlers,
    },
    ...options,
  });
  const address = await server.listen('127.0.0.1:0');
  const pools: RpcPeers[] = [];
  t.teardown(async () => {
    await Promise.all(pools.map(pool => pool.close()));
    await server.close();
  });
  const peers = (peerOptions: Partial<PeerOptions> = {}): RpcPeers => {
    const pool = new RpcPeers(platform(), { role: 'client', clusterId: () => '', ...peerOptions });
    pools.push(pool);
    return pool;
  };
  return { address, peers, server, seen, warned };
}

const session = (n: number): string => n.toString(16).padStart(16, '0');

test('calls on one connection are handled in the order they were made, also those made before it was open', async t => {
  const { address, peers, seen } = await setup(t);
  const peer = peers().get(address);

  const calls = [];
  for (let i = 0; i < 100; i++) calls.push(peer.call('keepSession', { session: session(i) }, TIMEOUT));
  await Promise.all(calls);

  t.deepEqual(
    seen,
    Array.from({ length: 100 }, (_, i) => session(i)),
  );
});

test('a payload of several buffers arrives whole and comes back whole', async t => {
  const { address, peers } = await setup(t);
  const pieces = [Buffer.alloc(1_000_000, 1), Buffer.alloc(3, 2), Buffer.alloc(700_001, 3)];

  const { payload } = await peers()
    .get(address)
    .call('read', { token, offset: 0, lengthBytes: 1 }, { ...TIMEOUT, payload: pieces });

  t.true(Buffer.concat(payload).equals(Buffer.concat(pieces)));
});

test('one-way messages and calls keep their order among each other', async t => {
  const { address, peers, seen } = await setup(t);
  const peer = peers().get(address);

  peer.send('push', { token, push: 1, part: 7, position: 0 }, [Buffer.from('x')]);
  await peer.call('keepSession', { session: session(1) }, TIMEOUT);

  t.deepEqual(seen, ['push 7', session(1)]);
});

test('an error of the handler arrives with its code; a bug arrives as FAILED', async t => {
  let first = true;
  const { address, peers } = await setup(t, {
    keepSession: () => {
      if (!first) throw new Error('a bug');
      first = false;
      throw new GfsError('SESSION_EXPIRED', 'gone');
    },
  });
  const peer = peers().get(address);

  const refused = await t.throwsAsync(peer.call('keepSession', { session: session(1) }, TIMEOUT));
  t.true(hasCode(refused, 'SESSION_EXPIRED'));
  const failed = await t.throwsAsync(peer.call('keepSession', { session: session(1) }, TIMEOUT));
  t.true(hasCode(failed, 'FAILED'));
});

test('a call without an answer ends with TIMED_OUT at its deadline, and the next call uses a new connection', async t => {
  let answer = true;
  const { address, peers } = await setup(t, {
    keepSession: () => (answer ? { body: {} } : new Promise(() => undefined)),
  });
  const peer = peers().get(address);
  await peer.call('keepSession', { session: session(1) }, TIMEOUT);

  answer = false;
  const error = await t.throwsAsync(peer.call('keepSession', { session: session(1) }, { timeoutMs: 50 }));
  t.true(hasCode(error, 'TIMED_OUT'));
  answer = true;
  await peer.call('keepSession', { session: session(1) }, TIMEOUT);

  t.is(peer.connectionNumber, 2);
});

test('a server that is not there is UNREACHABLE', async t => {
  const { peers, server, address } = await setup(t);
  await server.close();

  const error = await t.throwsAsync(
    peers()
      .get(address)
      .call('keepSession', { session: session(1) }, TIMEOUT),
  );

  t.true(hasCode(error, 'UNREACHABLE'));
});

test('a connection that breaks before the answer is CONNECTION_LOST', async t => {
  const { address, peers, server } = await setup(t, {
    keepSession: () => {
      void server.close();
      return new Promise(() => undefined);
    },
  });

  const error = await t.throwsAsync(
    peers()
      .get(address)
      .call('keepSession', { session: session(1) }, TIMEOUT),
  );

  t.true(hasCode(error, 'CONNECTION_LOST'));
});

test('a peer of another cluster is refused by name on both sides', async t => {
  const { address, peers } = await setup(t);

  const error = await t.throwsAsync(
    peers({ clusterId: () => 'cluster-2' })
      .get(address)
      .call('keepSession', { session: session(1) }, TIMEOUT),
  );

  t.true(hasCode(error, 'WRONG_CLUSTER'));
  t.regex(error!.message, /cluster-1|cluster-2/);
});

test('with a shared secret only those who know it are served', async t => {
  const secret = Buffer.from('the secret');
  const { address, peers, seen } = await setup(t, {}, { secret });

  await peers({ secret })
    .get(address)
    .call('keepSession', { session: session(1) }, TIMEOUT);
  for (const wrong of [undefined, Buffer.from('another')]) {
    const error = await t.throwsAsync(
      peers({ secret: wrong })
        .get(address)
        .call('keepSession', { session: session(2) }, TIMEOUT),
    );
    t.true(hasCode(error, 'UNAUTHENTICATED'));
  }

  t.deepEqual(seen, [session(1)]);
});

test('a client with a secret does not talk to a server that cannot prove it', async t => {
  const { address, peers, seen } = await setup(t);

  const error = await t.throwsAsync(
    peers({ secret: Buffer.from('s') })
      .get(address)
      .call('keepSession', { session: session(1) }, TIMEOUT),
  );

  t.true(hasCode(error, 'UNAUTHENTICATED'));
  t.deepEqual(seen, []);
});

test('a message of the wrong shape is refused with the name of the field', async t => {
  const { address, peers } = await setup(t);

  const error = await t.throwsAsync(peers().get(address).call('keepSession', { session: 'no id' }, TIMEOUT));

  t.true(hasCode(error, 'BAD_MESSAGE'));
  t.regex(error!.message, /keepSession\.session/);
});

const hello = Buffer.concat(
  encodeFrame({
    type: FRAME.hello,
    kind: 0,
    callId: 0,
    waitMs: 0,
    body: encodeBody({ version: 1, role: 'client', clusterId: '', nonce: Buffer.alloc(16) }),
  }),
);
const call = Buffer.concat(
  encodeFrame({ type: FRAME.request, kind: 2, callId: 1, waitMs: 0, body: encodeBody({ session: session(1) }) }),
);

function damaged(frame: Buffer, at: number): Buffer {
  const copy = Buffer.from(frame);
  copy[at]! ^= 0x40;
  return copy;
}

function oversized(): Buffer {
  const frame = Buffer.concat(
    encodeFrame({ type: FRAME.request, kind: 2, callId: 1, waitMs: 0, body: Buffer.alloc(2 * 1024 * 1024) }),
  );
  return frame.subarray(0, HEADER_BYTES);
}

function withPayload(lengthBytes: number): Buffer {
  const body = encodeBody({ token, push: 1, part: 0, position: 0 });
  const payload = [Buffer.alloc(lengthBytes, 7)];
  return Buffer.concat(encodeFrame({ type: FRAME.oneWay, kind: 221, callId: 0, waitMs: 0, body, payload }));
}

/** A plain socket to the server, on which whatever comes is counted. */
async function raw(t: ExecutionContext, address: string): Promise<{ socket: net.Socket; closed: Promise<unknown> }> {
  const [host, port] = address.split(':') as [string, string];
  const socket = net.connect(Number(port), host);
  t.teardown(() => socket.destroy());
  socket.on('error', () => undefined);
  const closed = new Promise(resolve => socket.once('close', resolve));
  await new Promise(resolve => socket.once('connect', resolve));
  return { socket, closed };
}

const HOSTILE: Record<string, Buffer> = {
  'random bytes': Buffer.from('GET / HTTP/1.1\r\nHost: gfs\r\n\r\n and more'),
  'a call before the greeting': call,
  'a header that does not match its checksum': Buffer.concat([hello, damaged(call, 9)]),
  'a body that does not match its checksum': Buffer.concat([hello, damaged(call, HEADER_BYTES + 3)]),
  'a body over the limit': Buffer.concat([hello, oversized()]),
  'a payload over the limit': Buffer.concat([hello, withPayload(5000)]),
};

for (const [name, data] of Object.entries(HOSTILE)) {
  test(`a peer that sends ${name} is closed with one line in the log, and the server goes on`, async t => {
    const { address, peers, warned } = await setup(t, {}, { payloadBytesMax: 4096 });

    const { socket, closed } = await raw(t, address);
    socket.resume();
    socket.write(data);
    await closed;

    t.deepEqual(
      warned.map(fields => fields.code),
      ['BAD_MESSAGE'],
    );
    await peers()
      .get(address)
      .call('keepSession', { session: session(1) }, TIMEOUT);
    t.is(warned.length, 1);
  });
}

const TRUNCATED: Record<string, Buffer> = {
  'its greeting': hello.subarray(0, HEADER_BYTES + 2),
  'a header': Buffer.concat([hello, call.subarray(0, 5)]),
  'a body': Buffer.concat([hello, call.subarray(0, call.length - 1)]),
  'a payload': Buffer.concat([hello, withPayload(1000).subarray(0, -1)]),
};

for (const [name, data] of Object.entries(TRUNCATED)) {
  test(`a connection that ends in the middle of ${name} leaves one line in the log, and the server goes on`, async t => {
    const { address, peers, warned, seen } = await setup(t);

    const { socket, closed } = await raw(t, address);
    socket.resume();
    socket.end(data);
    await closed;

    await peers()
      .get(address)
      .call('keepSession', { session: session(1) }, TIMEOUT);
    t.deepEqual(
      warned.map(fields => fields.code),
      ['CONNECTION_LOST'],
    );
    t.deepEqual(seen, [session(1)]);
  });
}

test('a connection that ends between two messages is no matter for the log', async t => {
  const { address, server, warned } = await setup(t);

  const { socket, closed } = await raw(t, address);
  socket.resume();
  socket.end(Buffer.concat([hello, call]));
  await closed;
  const silent = await raw(t, address);
  silent.socket.resume().end();
  await silent.closed;

  t.is(server.connectionCount, 0);
  t.deepEqual(warned, []);
});

/** Settles once the server has answered the call that is all but the last of what was sent: what stood behind it in one piece has arrived too. */
async function answered(socket: net.Socket): Promise<void> {
  let bytes = 0;
  await new Promise<void>(resolve => {
    socket.on('data', data => {
      bytes += data.length;
      // Two answers: to the greeting and to the call.
      if (bytes > 2 * HEADER_BYTES) resolve();
    });
  });
}

test('a message that is not there as a whole in time ends its connection with one line; one that is silent between messages stays', async t => {
  const clock = new ManualClock();
  const { address, server, warned } = await setup(t, {}, { frameTimeoutMs: 5_000 }, { clock });
  const quiet = await raw(t, address);
  quiet.socket.write(Buffer.concat([hello, call]));
  await answered(quiet.socket);
  const half = await raw(t, address);
  half.socket.write(Buffer.concat([hello, call, call.subarray(0, -1)]));
  await answered(half.socket);

  await clock.advance(5_000);
  t.is(server.connectionCount, 2);
  await clock.advance(2_500);

  await half.closed;
  t.is(server.connectionCount, 1);
  t.deepEqual(
    warned.map(fields => fields.code),
    ['TIMED_OUT'],
  );
});

test('a connection that is silent for too long is closed without a word; one with a call in work stays', async t => {
  const clock = new ManualClock();
  let answer = (): void => undefined;
  const { address, server, warned } = await setup(
    t,
    {
      keepSession: ({ session: name }) =>
        name === session(1)
          ? { body: {} }
          : new Promise(resolve => {
              answer = () => resolve({ body: {} });
            }),
    },
    { idleTimeoutMs: 60_000 },
    { clock },
  );
  const silent = await raw(t, address);
  silent.socket.write(Buffer.concat([hello, call]));
  await answered(silent.socket);
  const busy = await raw(t, address);
  const waiting = encodeFrame({
    ...{ type: FRAME.request, kind: 2, callId: 1, waitMs: 0 },
    body: encodeBody({ session: session(2) }),
  });
  busy.socket.write(Buffer.concat([hello, ...waiting, call]));
  await answered(busy.socket);

  await clock.advance(59_000);
  t.is(server.connectionCount, 2);
  await clock.advance(60_000);

  await silent.closed;
  t.is(server.connectionCount, 1);
  answer();
  await clock.advance(90_000);
  await busy.closed;
  t.is(server.connectionCount, 0);
  t.deepEqual(warned, []);
});

test('while a connection is not read from, the message on its way costs no time', async t => {
  const clock = new ManualClock();
  const callsMax = 1024;
  let handled = 0;
  let full = (): void => undefined;
  const allHere = new Promise<void>(resolve => {
    full = resolve;
  });
  const held: Array<() => void> = [];
  const { address, server, warned } = await setup(
    t,
    {
      keepSession: () => {
        if (++handled === callsMax) full();
        return new Promise(resolve => held.push(() => resolve({ body: {} })));
      },
    },
    { frameTimeoutMs: 5_000 },
    { clock },
  );
  const { socket, closed } = await raw(t, address);
  socket.resume();
  const calls = Buffer.concat(Array.from({ length: callsMax }, () => call));
  socket.write(Buffer.concat([hello, calls, call.subarray(0, -1)]));
  await allHere;

  await clock.advance(60_000);
  t.is(server.connectionCount, 1);
  for (const answer of held) answer();
  await clock.advance(4_000);
  t.is(server.connectionCount, 1);
  await clock.advance(4_000);

  await closed;
  t.is(server.connectionCount, 0);
  t.deepEqual(
    warned.map(fields => fields.code),
    ['TIMED_OUT'],
  );
});

test('when unfinished messages take too much memory together, the connection with most of it is closed', async t => {
  const { address, peers, server, warned } = await setup(t, {}, { unfinishedBytesMax: 1_000_000 });
  const greedy = await raw(t, address);
  greedy.socket.resume();
  greedy.socket.write(Buffer.concat([hello, withPayload(2_000_000).subarray(0, 900_000)]));
  const modest = await raw(t, address);
  modest.socket.resume();
  modest.socket.write(Buffer.concat([hello, withPayload(2_000_000).subarray(0, 300_000)]));

  await greedy.closed;

  t.deepEqual(
    warned.map(fields => fields.code),
    ['OVERLOADED'],
  );
  t.is(server.connectionCount, 1);
  await peers()
    .get(address)
    .call('keepSession', { session: session(1) }, TIMEOUT);
});

test('a peer that never greets is closed when its time is up', async t => {
  const { address } = await setup(t, {}, { greetingTimeoutMs: 30 });

  const { socket, closed } = await raw(t, address);
  socket.resume();
  await closed;

  t.pass();
});
