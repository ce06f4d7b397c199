// Calls over real loopback connections: order, errors, deadlines, secrets, and peers that misbehave.
import net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { silentLogger } from '../../src/lib/logger.js';
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

type Served = 'keepSession' | 'read' | 'push';
const TIMEOUT = { timeoutMs: 5000 };
const token = Buffer.from('t');

function platform(): Platform {
  const unused = undefined as never;
  return {
    clock: new SystemClock(),
    random: new SystemRandom(),
    transport: new TcpTransport(),
    disk: unused,
    kv: unused,
    witness: unused,
    logger: silentLogger,
  };
}

interface Setup {
  address: string;
  peers: (options?: Partial<PeerOptions>) => RpcPeers;
  server: RpcServer<Served>;
  seen: string[];
}

async function setup(
  t: ExecutionContext,
  handlers: Partial<Handlers<Served>> = {},
  options: Partial<RpcServerOptions<Served>> = {},
): Promise<Setup> {
  const seen: string[] = [];
  const server = new RpcServer<Served>(platform(), {
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
  return { address, peers, server, seen };
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

const HOSTILE: Record<string, Buffer> = {
  'random bytes': Buffer.from('GET / HTTP/1.1\r\nHost: gfs\r\n\r\n and more'),
  'a call before the greeting': call,
  'a header that does not match its checksum': Buffer.concat([hello, damaged(call, 9)]),
  'a body that does not match its checksum': Buffer.concat([hello, damaged(call, HEADER_BYTES + 3)]),
  'a body over the limit': Buffer.concat([hello, oversized()]),
};

for (const [name, data] of Object.entries(HOSTILE)) {
  test(`a peer that sends ${name} is closed, and the server goes on`, async t => {
    const { address, peers } = await setup(t);
    const [host, port] = address.split(':') as [string, string];

    const socket = net.connect(Number(port), host);
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(data);
    await new Promise(resolve => socket.once('close', resolve));

    await peers()
      .get(address)
      .call('keepSession', { session: session(1) }, TIMEOUT);
    t.pass();
  });
}

test('a peer that never greets is closed when its time is up', async t => {
  const { address } = await setup(t, {}, { greetingTimeoutMs: 30 });
  const [host, port] = address.split(':') as [string, string];

  const socket = net.connect(Number(port), host);
  socket.on('error', () => undefined);
  socket.resume();
  await new Promise(resolve => socket.once('close', resolve));

  t.pass();
});
