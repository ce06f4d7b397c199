// Proof that the checkers can fail: each mutant breaks one rule of the protocol in this process, by replacing a method of a real class. Production code
// knows nothing of them. A mutant that no seed catches is a hole in the checkers or in the workloads.
import './small-units.js';

import { Chain } from '../../src/chunkserver/chain.js';
import { LeaseHolder } from '../../src/chunkserver/lease-holder.js';
import { Orders } from '../../src/chunkserver/orders.js';
import { Primary } from '../../src/chunkserver/primary.js';
import { RateLimit } from '../../src/chunkserver/rate-limit.js';
import { Scrubber } from '../../src/chunkserver/scrubber.js';
import { StartCheck } from '../../src/chunkserver/start-check.js';
import { VerifiedReader } from '../../src/chunkserver/verified-reader.js';
import { AppendQueue, type Piece } from '../../src/client/append-queue.js';
import { InodeState } from '../../src/client/inode-state.js';
import { Locks } from '../../src/client/locks.js';
import { MasterLink } from '../../src/client/master-link.js';
import { assert } from '../../src/lib/assert.js';
import { crc32 } from '../../src/lib/checksum.js';
import { CopyLimits } from '../../src/master/copy-limits.js';
import { FileViews } from '../../src/master/file-views.js';
import { Garbage } from '../../src/master/garbage.js';
import { Healing } from '../../src/master/healing.js';
import { HotChunks } from '../../src/master/hot-chunks.js';
import { ReplicaCopies } from '../../src/master/replica-copies.js';
import { type FenceAnswer, lengthToSeal } from '../../src/master/seal-decision.js';
import { Sealing } from '../../src/master/sealing.js';
import { Servers } from '../../src/master/servers.js';
import { SessionTable } from '../../src/master/sessions.js';
import { Shortage } from '../../src/master/shortage.js';
import { Store } from '../../src/master/store.js';
import { hasCode } from '../../src/protocol/errors.js';
import type { ServerId } from '../../src/protocol/ids.js';
import { LIMITS } from '../../src/protocol/limits.js';
import type { Kind } from '../../src/protocol/messages.js';
import { RpcServer } from '../../src/rpc/server.js';
import type { Handler, Handlers } from '../../src/rpc/types.js';

export interface Mutant {
  name: string;
  /** The rule that it breaks. */
  breaks: string;
  /** Returns what mends it. */
  apply(): () => void;
}

// biome-ignore lint/suspicious/noExplicitAny: private methods of any class are replaced here; their types are out of reach.
type Anything = any;
type AnyFunction = (this: Anything, ...values: Anything[]) => Anything;

/** Replaces a method of a class, private or not, until the result is called. */
function replace(
  owner: { prototype: object },
  method: string,
  make: (original: AnyFunction) => AnyFunction,
): () => void {
  const descriptor = Object.getOwnPropertyDescriptor(owner.prototype, method);
  assert(typeof descriptor?.value === 'function', `there is a method ${method} to replace`);
  Object.defineProperty(owner.prototype, method, { ...descriptor, value: make(descriptor.value as AnyFunction) });
  return () => {
    Object.defineProperty(owner.prototype, method, descriptor);
  };
}

function all(...undos: Array<() => void>): () => void {
  return () => {
    for (const undo of undos) undo();
  };
}

/** A doubt that is forgotten as soon as the file has moved on: nobody can list it. */
class ForgottenDoubts<K, V> extends Map<K, V> {
  override keys(): MapIterator<K> {
    return new Map<K, V>().keys();
  }

  override values(): MapIterator<V> {
    return new Map<K, V>().values();
  }
}

/** Healing never finds room for such steps. */
const leaveUndone = (...kinds: string[]) =>
  replace(
    Healing,
    'start',
    start =>
      function (this: unknown, chunk, step) {
        return kinds.includes(step.kind) ? undefined : start.call(this, chunk, step);
      },
  );

const decideWith = (
  decide: (chunk: Parameters<typeof lengthToSeal>[0], answers: readonly FenceAnswer[]) => number | undefined,
) => replace(Sealing, 'decide', () => (chunk, answers) => decide(chunk, answers));

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'no-fencing',
    breaks: 'I4: a chunk that was fenced takes no more appends of an older version',
    apply: () =>
      replace(
        Orders,
        'fence',
        fence =>
          function (this: Anything, request) {
            const { store, me } = this.parts;
            const chunk = store.existing(request.handle);
            if (chunk?.state !== 'open') return fence.call(this, request);
            const { writtenBytes: lengthBytes, suspect } = chunk;
            return Promise.resolve({ exists: true, lengthBytes, suspect, epoch: me.epoch, fixed: false });
          },
      ),
  },
  {
    name: 'ack-early',
    breaks: 'I2: an append is acknowledged when every replica of the chain holds it',
    apply: () =>
      replace(
        Chain,
        'forward',
        forward =>
          function (this: unknown, ...values) {
            forward.apply(this, values).catch(() => undefined);
            return Promise.resolve();
          },
      ),
  },
  {
    name: 'seal-shortest',
    breaks: 'I5: a chunk is sealed at the longest trustworthy length',
    apply: () =>
      decideWith((chunk, answers) => {
        const longest = lengthToSeal(chunk, answers);
        if (longest === undefined) return undefined;
        return Math.max(
          chunk.lengthBytes,
          Math.min(...answers.map(answer => (answer.exists ? answer.lengthBytes : 0))),
        );
      }),
  },
  {
    name: 'forget-writers',
    breaks: 'I3: the table of writers outlives the process',
    apply: () =>
      replace(
        StartCheck,
        'run',
        run =>
          async function (this: Anything, options) {
            await run.call(this, options);
            const { index } = this.disk;
            for (const { handle, disk } of this.store.all()) {
              if (disk !== this.disk) continue;
              const writers: string[] = (await index.writers(handle)).map(([writer]: [string]) => writer);
              const ops = writers.map(writer => index.writerOp(handle, writer, undefined));
              await index.batch(ops, { sync: true });
            }
          },
      ),
  },
  {
    name: 'ignore-expiry',
    breaks: 'a lease ends: its primary refuses appends then, and clients ask for a new target',
    apply: () =>
      all(
        replace(LeaseHolder, 'isOver', () => () => false),
        replace(
          InodeState,
          'noteTarget',
          noteTarget =>
            function (this: unknown, wire, askedMs) {
              return noteTarget.call(this, { ...wire, leaseMs: 3_600_000 }, askedMs);
            },
        ),
      ),
  },
  {
    name: 'trust-suspect',
    breaks: 'a replica that may have lost bytes with the power never decides a seal alone',
    apply: () =>
      decideWith((chunk, answers) =>
        lengthToSeal(
          chunk,
          answers.map(answer => ({ ...answer, suspect: false })),
        ),
      ),
  },
  {
    name: 'reply-early',
    breaks: 'I6: a reply of the master waits until the state it shows is on disk',
    apply: () => replace(Store, 'durable', () => () => Promise.resolve()),
  },
  {
    name: 'no-tombstone',
    breaks: 'rule 4: a fence is recorded also where there is no such chunk',
    apply: () =>
      replace(
        Orders,
        'fence',
        fence =>
          function (this: Anything, request) {
            const { store, me } = this.parts;
            if (store.get(request.handle)) return fence.call(this, request);
            return Promise.resolve({ exists: false, lengthBytes: 0, suspect: false, epoch: me.epoch, fixed: false });
          },
      ),
  },
  {
    name: 'old-epoch',
    breaks: 'rule 2: a server refuses tokens from before its last start',
    apply: () =>
      replace(
        Chain,
        'checkPlace',
        checkPlace =>
          function (this: unknown, token, position, me) {
            checkPlace.call(
              this,
              { ...token, chain: token.chain.map((member: object) => ({ ...member, epoch: me.epoch })) },
              position,
              me,
            );
          },
      ),
  },
  {
    name: 'no-resolve',
    breaks: 'rule 5: an append goes to another chunk only when it certainly does not stand in the last one',
    apply: () =>
      replace(
        AppendQueue,
        'cut',
        cut =>
          function (this: unknown, ...values) {
            const piece: Piece = cut.apply(this, values);
            Object.assign(piece, { maybe: new ForgottenDoubts() });
            return piece;
          },
      ),
  },
  {
    name: 'no-deadline',
    breaks: 'every operation ends at its deadline: what the master is asked, too',
    apply: () =>
      replace(
        MasterLink,
        'call',
        call =>
          function (this: unknown, kind, request, options) {
            return call.call(this, kind, request, { ...options, deadlineMs: Number.POSITIVE_INFINITY });
          },
      ),
  },
  {
    name: 'late-appends',
    breaks: 'every append ends at its deadline',
    apply: () =>
      replace(
        AppendQueue,
        'add',
        add =>
          function (this: unknown, buffers, options, deadlineMs) {
            return add.call(this, buffers, options, deadlineMs + 4_000);
          },
      ),
  },
  {
    name: 'no-copies',
    breaks: '§4.3: a chunk with too few good replicas gets new ones',
    apply: () => leaveUndone('copy', 'repair'),
  },
  {
    name: 'keep-open',
    breaks: 'an open chunk whose member is gone is sealed, so that it can be healed',
    apply: () => leaveUndone('seal'),
  },
  {
    name: 'no-copy-limits',
    breaks: '§4.3: copies at once are limited, in all and at each server',
    apply: () => replace(CopyLimits, 'enter', () => () => () => undefined),
  },
  {
    name: 'hasty-trash',
    breaks: '§4.4: deleted files stay in the trash for their time',
    apply: () =>
      all(
        replace(Shortage, 'judge', () => async () => true),
        replace(Shortage, 'isEnoughComing', () => () => false),
      ),
  },
  {
    name: 'no-expectation',
    breaks: 'an append that expects the file to end at an offset stands there or nowhere',
    apply: () =>
      replace(
        Primary,
        'checkRoom',
        checkRoom =>
          function (this: Anything, { expectedOffset: _, ...request }, lease) {
            checkRoom.call(this, request, lease);
          },
      ),
  },
  {
    name: 'collect-open',
    breaks: 'a file without a name stays as long as a living session has it open',
    apply: () => replace(SessionTable, 'isOpen', () => () => false),
  },
  {
    name: 'serve-unverified',
    breaks: 'I8: no byte is handed out that does not match its checksum',
    apply: () =>
      replace(
        VerifiedReader,
        'slice',
        slice =>
          function (this: unknown, chunk, bytes: Buffer, range, expected: readonly number[]) {
            const { blockBytes } = LIMITS;
            const found = expected.map((_, i) => crc32(bytes.subarray(i * blockBytes, (i + 1) * blockBytes)));
            return slice.call(this, chunk, bytes, range, found);
          },
      ),
  },
  {
    name: 'no-scrub',
    breaks: '§5.2: every stored byte is read and checked once in a while',
    apply: () => replace(Scrubber, 'isDue', () => () => false),
  },
  {
    name: 'no-mend',
    breaks: 'I8: what no replica has whole is made from several of them, or named',
    apply: () => leaveUndone('mend'),
  },
  {
    name: 'keep-orphans',
    breaks: '§4.4: replicas that nothing refers to are deleted',
    apply: () => replace(Garbage, 'deleteSome', () => () => undefined),
  },
  {
    name: 'keep-surplus',
    breaks: '§4.3: replicas that are bad or more than wanted are deleted once enough good ones stand',
    apply: () => leaveUndone('delete'),
  },
  {
    name: 'delete-unasked',
    breaks: 'a replica is deleted only after those that stay have said that they are there and good',
    apply: () =>
      all(
        replace(ReplicaCopies, 'goodNow', () => async () => Array.from({ length: LIMITS.replicasMax }, () => '')),
        replace(ReplicaCopies, 'verify', () => async () => undefined),
      ),
  },
  {
    name: 'delete-unread',
    breaks: 'a replica is deleted only after one of those that stay has been read through',
    apply: () => replace(ReplicaCopies, 'verify', () => async () => undefined),
  },
  {
    name: 'no-drain',
    breaks: 'what a server has that is drained is moved off it',
    apply: () => replace(Servers, 'setDraining', () => () => undefined),
  },
  {
    name: 'hasty-drain',
    breaks: 'a server that is drained is said to be safe to stop only when all it has stands elsewhere',
    apply: () =>
      replace(
        RpcServer,
        'listen',
        listen =>
          function (this: RpcServer<Kind>, address) {
            const handlers = this.options.handlers as Partial<Handlers<Kind>>;
            if (handlers.drainStatus)
              (this.options as { handlers: unknown }).handlers = {
                ...handlers,
                drainStatus: safe(handlers.drainStatus),
              };
            return listen.call(this, address);
          },
      ),
  },
  {
    name: 'stay-hot',
    breaks: 'a chunk that was read much gives its additional replicas up when it cools',
    apply: () => replace(HotChunks, 'decay', () => () => undefined),
  },
  {
    name: 'no-server-rate',
    breaks: 'copies from and to one server keep to its rate together',
    apply: () => replace(RateLimit, 'take', () => () => Promise.resolve()),
  },
  {
    name: 'serve-stale',
    breaks: 'I7: a replica with less than the master records is never read from',
    apply: () =>
      all(
        replace(
          FileViews,
          'currentServers',
          () =>
            function (this: Anything, chunk) {
              const { locations, servers } = this.context;
              return locations
                .get(chunk.handle)
                .map(({ server }: { server: ServerId }) => server)
                .filter((server: ServerId) => servers.isLive(server));
            },
        ),
        replace(
          RpcServer,
          'listen',
          listen =>
            function (this: RpcServer<Kind>, address) {
              const handlers = this.options.handlers as Partial<Handlers<Kind>>;
              if (handlers.read)
                (this.options as { handlers: unknown }).handlers = { ...handlers, read: paddedRead(handlers.read) };
              return listen.call(this, address);
            },
        ),
      ),
  },
];

/** Draining is always over. */
function safe(drainStatus: Handler<'drainStatus'>): Handler<'drainStatus'> {
  return async (request, context) => {
    const { body } = await drainStatus(request, context);
    return { body: { ...body, safe: true } };
  };
}

/** What is not there reads as zeros. */
function paddedRead(read: Handler<'read'>): Handler<'read'> {
  return async (request, context) => {
    try {
      return await read(request, context);
    } catch (error) {
      if (!hasCode(error, 'NO_CHUNK')) throw error;
      return { body: { lengthBytes: request.lengthBytes }, payload: [Buffer.alloc(request.lengthBytes)] };
    }
  };
}

/** Of locks alone: caught within seconds by a run in which nothing else matters (locks.test.ts), and hardly ever elsewhere. */
export const LOCK_MUTANTS: readonly Mutant[] = [
  {
    name: 'late-requests',
    breaks: 'requests about locks and open files that were given up with their connection are refused',
    apply: () =>
      replace(
        SessionTable,
        'hear',
        () =>
          function (this: Anything, id) {
            return this.get(id);
          },
      ),
  },
  {
    name: 'hold-on-to-locks',
    breaks: 'a holder that does not reach the master gives its locks up before the master does',
    apply: () => replace(Locks, 'onSilence', () => () => undefined),
  },
];

/** Breaks the rule of this mutant in this process; returns what mends it. */
export function applyMutant(name: string): () => void {
  const mutant = [...MUTANTS, ...LOCK_MUTANTS].find(candidate => candidate.name === name);
  assert(mutant, `there is a mutant ${name}`);
  return mutant.apply();
}
