// One handler per message that a chunkserver answers: it opens the door with the token, hands over to whoever owns the matter, and shapes the
// answer. It decides nothing else.
import { GfsError } from '../protocol/errors.js';
import type { ChunkserverKind, Request } from '../protocol/messages.js';
import type { Answer, CallContext, Handlers, PeerPool } from '../rpc/types.js';
import type { ChainServer } from './chain.js';
import type { ChunkStore } from './chunk-store.js';
import type { Copying } from './copying.js';
import type { LeaseReturn } from './lease-return.js';
import type { Mending } from './mending.js';
import type { Orders } from './orders.js';
import type { Primary } from './primary.js';
import type { PushStage } from './push-stage.js';
import type { RateLimit } from './rate-limit.js';
import type { Secondary } from './secondary.js';
import type { TokenGate } from './token-gate.js';

export interface ApiParts {
  me: ChainServer;
  tokens: TokenGate;
  store: ChunkStore;
  primary: Primary;
  secondary: Secondary;
  orders: Orders;
  copying: Copying;
  mending: Mending;
  leaseReturn: LeaseReturn;
  pushes: PushStage;
  /** What copies from this server may take together, and how to wait for it. */
  copiesOut: RateLimit;
  wait: (ms: number) => Promise<void>;
  peers: PeerPool;
  /** A server that stops takes no new leases. */
  isStopping: () => boolean;
}

const WRITERS_PER_PAGE = 256;

export function chunkserverHandlers(parts: ApiParts): Handlers<ChunkserverKind> {
  const { tokens, store, primary, secondary, orders, copying, leaseReturn } = parts;
  const order = (request: { token: Buffer; handle: Request<'fence'>['handle'] }): void =>
    tokens.checkOrder(request.token, request.handle);
  const refuseWhenStopping = (): void => {
    if (parts.isStopping()) throw new GfsError('STOPPING', 'this chunkserver is stopping');
  };
  return {
    // From the master
    grant: async request => {
      order(request);
      refuseWhenStopping();
      return { body: await orders.grant(request.handle, request.version) };
    },
    adopt: request => {
      order(request);
      refuseWhenStopping();
      orders.adopt(request.handle, request);
      return { body: {} };
    },
    fence: async request => {
      order(request);
      return { body: await orders.fence(request) };
    },
    fix: async request => {
      order(request);
      return { body: await orders.fix(request.handle, request.version, request.lengthBytes) };
    },
    copyChunk: async request => {
      order(request);
      return { body: await copying.copy(request) };
    },
    mendChunk: async request => {
      order(request);
      return { body: await parts.mending.mend(request) };
    },
    stopCopy: request => {
      order(request);
      copying.stop(request.handle, request.version);
      return { body: {} };
    },
    deleteChunk: async request => {
      order(request);
      await orders.deleteChunk(request.handle, request.version);
      return { body: {} };
    },
    findAppend: request => {
      order(request);
      const offset = orders.findAppend(request);
      return { body: offset === undefined ? {} : { offset } };
    },
    revokeLease: async request => {
      order(request);
      return { body: { lengthBytes: await leaseReturn.revoke(request.handle, request.version) } };
    },
    inspectChunk: async request => {
      order(request);
      if (request.verify) await orders.verify(request.handle, bytes => parts.copiesOut.take(bytes, parts.wait));
      return { body: orders.inspect(request.handle) };
    },

    // From clients
    append: (request, context) => primary.append(request, context),
    push: (request, context) => {
      push(parts, request, context);
      return { body: {} };
    },
    read: (request, context) => read(parts, request, context),
    tailLength: request => ({ body: primary.tailLength(request.token) }),
    syncChunk: async request => {
      await primary.syncChunk(request.token, request.lengthBytes);
      return { body: {} };
    },

    // From chunkservers
    replicate: async (request, context) => {
      await secondary.replicate(request, context);
      return { body: {} };
    },
    replicaSync: async request => {
      await secondary.replicaSync(request);
      return { body: {} };
    },
    readWriters: async request => {
      const token = tokens.open(request.token, 'copy');
      const chunk = store.existing(token.handle);
      if (chunk?.state !== 'sealed') throw new GfsError('NO_CHUNK', `chunk ${token.handle} is not sealed here`);
      const page = await chunk.disk.index.writersPage(chunk.handle, request.after, WRITERS_PER_PAGE);
      const lengthBytes = chunk.writtenBytes;
      const writers = page.map(([writer, { appends, atMs }]) => ({
        writer,
        appends: appends.filter(entry => entry.offset + entry.lengthBytes <= lengthBytes),
        atMs,
      }));
      return { body: { writers, end: page.length < WRITERS_PER_PAGE } };
    },
  };
}

/** A part of a large append: staged here, and on its way to the next replica before the rest has arrived. */
function push(parts: ApiParts, request: Request<'push'>, context: CallContext): void {
  const token = parts.tokens.openInChain(request.token);
  const place = token.chain[request.position];
  if (token.right !== 'append' || place?.server !== parts.me.server || place.epoch !== parts.me.epoch) return;
  const next = token.chain[request.position + 1];
  const part = {
    push: request.push,
    part: request.part,
    payload: context.payload,
  };
  parts.pushes.add(context.connection, part, next && parts.peers.get(next.address), (peer, number) => {
    const onward = { token: request.token, push: number, part: request.part, position: request.position + 1 };
    peer.send('push', onward, context.payload, context.payloadCrc);
  });
}

async function read(parts: ApiParts, request: Request<'read'>, _context: CallContext): Promise<Answer<'read'>> {
  const { tokens, store, copiesOut, wait } = parts;
  const token = tokens.open(request.token, 'read', 'append', 'copy');
  // Before anything is judged: the chunk may change in the meantime.
  if (token.right === 'copy') await copiesOut.take(request.lengthBytes, wait);
  const chunk = store.existing(token.handle);
  const isCurrent = chunk && (chunk.version >= token.version || chunk.state === 'sealed');
  if (!isCurrent) throw new GfsError('NO_CHUNK', `chunk ${token.handle} is not here in version ${token.version}`);
  // Of a damaged replica too, block by block: the reader hands out none that does not match its checksum (I8).
  const { offset, lengthBytes } = request;
  if (offset + lengthBytes > chunk.recordedBytes)
    throw new GfsError('NO_CHUNK', `chunk ${token.handle} has ${chunk.recordedBytes} bytes here`);
  if (token.right !== 'copy') store.countRead(chunk);
  const { buffers, crc } = await store.reader.read(chunk, offset, lengthBytes);
  return { body: { lengthBytes }, payload: buffers, payloadCrc: crc };
}
