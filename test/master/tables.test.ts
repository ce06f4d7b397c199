// The master's tables in memory and its pure rules: leases, locations, safe mode, seal decisions, healing plans.
import test from 'ava';
import { type HealingFacts, nextStep } from '../../src/master/healing-plan.js';
import { type Lease, LeaseTable } from '../../src/master/lease-table.js';
import { isCurrent, Locations, type Replica } from '../../src/master/locations.js';
import type { ChunkRecord } from '../../src/master/records.js';
import { reasonToStay } from '../../src/master/safe-mode.js';
import { type FenceAnswer, grantedLength, lengthToSeal } from '../../src/master/seal-decision.js';
import type { ChunkHandle, InodeId, ServerId } from '../../src/protocol/ids.js';

const [A, B, C, D] = ['a', 'b', 'c', 'd'].map(letter => letter.repeat(16) as ServerId) as [
  ServerId,
  ServerId,
  ServerId,
  ServerId,
];
const CHAIN = [A, B, C].map(server => ({ server, epoch: 1 }));
const H = 7 as ChunkHandle;

function lease(more: Partial<Lease> = {}): Lease {
  return { handle: H, version: 1, chain: CHAIN, firstUntilMs: 0, untilMs: 100, committedBytes: 0, ...more };
}

test('I4 a lease lives until its time and is not found after it', t => {
  const table = new LeaseTable();
  table.put(lease());

  t.is(table.live(H, 99)?.version, 1);
  t.is(table.live(H, 100), undefined);
  t.is(table.live(H, 60, 50), undefined);
});

test('a lease is extended only for its version and its primary, and never once it ended', t => {
  const table = new LeaseTable();
  table.put(lease());

  t.false(table.extend({ handle: H, version: 2, primary: A }, 200, 50));
  t.false(table.extend({ handle: H, version: 1, primary: B }, 200, 50));
  t.true(table.extend({ handle: H, version: 1, primary: A }, 200, 50));
  t.false(table.extend({ handle: H, version: 1, primary: A }, 300, 201));
});

test('leases are found by every server of their chain, and end with another epoch of one of them', t => {
  const table = new LeaseTable();
  table.put(lease());
  t.deepEqual(table.ofServer(B), [H]);

  table.dropOtherEpochs(B, 1);
  t.is(table.size, 1);
  table.dropOtherEpochs(B, 2);

  t.is(table.size, 0);
  t.deepEqual(table.ofServer(A), []);
});

test('a lease never goes back to an older version', t => {
  const table = new LeaseTable();
  table.put(lease({ version: 3 }));

  t.throws(() => table.put(lease({ version: 2 })));
});

const sealed = { version: 3, lengthBytes: 100 };
function replica(server: ServerId, more: Partial<Replica> = {}): Replica {
  return { server, version: 3, lengthBytes: 100, state: 'sealed', suspect: false, corrupt: false, ...more };
}

test('I7 a replica is current only in version, length, state and soundness', t => {
  t.true(isCurrent(replica(A), sealed));
  t.false(isCurrent(replica(A, { version: 2 }), sealed));
  t.false(isCurrent(replica(A, { lengthBytes: 99 }), sealed));
  t.false(isCurrent(replica(A, { lengthBytes: 101 }), sealed));
  t.false(isCurrent(replica(A, { state: 'fenced' }), sealed));
  t.false(isCurrent(replica(A, { corrupt: true }), sealed));
});

test('§2.6.2 locations follow reports; a complete report removes what it does not name', t => {
  const locations = new Locations();
  const report = { version: 3, lengthBytes: 100, state: 'sealed' as const, suspect: false, corrupt: false };
  for (const handle of [1, 2, 3]) locations.report(A, { handle: handle as ChunkHandle, ...report });
  locations.report(B, { handle: 1 as ChunkHandle, ...report });

  locations.report(A, { handle: 2 as ChunkHandle, ...report, gone: true });
  const missing = locations.retain(A, new Set([1 as ChunkHandle]));

  t.deepEqual(missing, [3]);
  t.deepEqual([...locations.handlesOf(A)], [1]);
  t.is(locations.get(1 as ChunkHandle).length, 2);
  t.is(locations.handleCount, 1);
  locations.forget(1 as ChunkHandle);
  t.is(locations.handleCount, 0);
  locations.checkInvariants();
});

test('safe mode lasts until enough servers are up and enough chunks have been reported', t => {
  const rules = { minReplicas: 2, sharePerMille: 999, maxMs: 30_000 };
  const facts = { chunks: 1_000, located: 998, serversUp: 2, serversKnown: 3, serversReported: 2 };

  t.not(reasonToStay({ ...facts, serversUp: 1 }, rules, 99_000), '');
  t.not(reasonToStay(facts, rules, 0), '');
  t.is(reasonToStay({ ...facts, located: 999 }, rules, 0), '');
  t.is(reasonToStay({ ...facts, serversReported: 3 }, rules, 0), '');
  t.is(reasonToStay(facts, rules, 30_000), '');
  t.is(reasonToStay({ chunks: 0, located: 0, serversUp: 2, serversKnown: 2, serversReported: 2 }, rules, 0), '');
});

function fence(server: ServerId, lengthBytes: number | undefined, more: Partial<FenceAnswer> = {}): FenceAnswer {
  const exists = lengthBytes !== undefined;
  return { server, exists, lengthBytes: lengthBytes ?? 0, suspect: false, epoch: 1, fixed: false, ...more };
}
const open = { chain: CHAIN, lengthBytes: 0 };

test('DESIGN 4 Seal: the longest length of those that answered, when at least one can be trusted', t => {
  t.is(lengthToSeal(open, [fence(A, 10), fence(B, 30), fence(C, 20)]), 30);
  t.is(lengthToSeal(open, [fence(B, 5)]), 5);
  t.is(lengthToSeal(open, [fence(A, 10), fence(B, 30, { suspect: true })]), 30);
  t.is(lengthToSeal(open, []), undefined);
  t.is(lengthToSeal(open, [fence(A, 10, { suspect: true }), fence(B, 10, { suspect: true })]), undefined);
  t.is(
    lengthToSeal(open, [
      fence(A, 10, { suspect: true }),
      fence(B, 0, { suspect: true }),
      fence(C, undefined, { epoch: 2 }),
    ]),
    10,
  );
});

test('a damaged replica does not make the chunk longer than the good ones, and is all there is where nobody else can be trusted', t => {
  const damaged = fence(A, 30, { corrupt: true });
  t.is(lengthToSeal(open, [damaged, fence(B, 20)]), 20);
  t.is(lengthToSeal(open, [damaged, fence(B, undefined)]), 0);
  t.is(lengthToSeal(open, [damaged]), 30);
  const patient = { patient: true };
  t.is(lengthToSeal(open, [damaged], patient), undefined);
  t.is(lengthToSeal(open, [damaged, fence(B, 20)], patient), 20);
  t.is(lengthToSeal(open, [damaged, fence(B, 20, { suspect: true })], patient), undefined);
  t.is(lengthToSeal(open, [damaged, fence(B, 20, { suspect: true }), fence(C, 0, { suspect: true })], patient), 30);
  t.is(lengthToSeal(open, [damaged, fence(B, 20, { suspect: true })]), 30);
  t.is(lengthToSeal(open, [damaged, fence(B, 20), fence(C, 25, { suspect: true })]), 25);
  t.is(lengthToSeal({ ...open, lengthBytes: 25 }, [damaged, fence(B, 20)]), undefined);
});

test('DESIGN 4 rule 4: a missing chunk is length 0 only from the epoch of the allocation', t => {
  t.is(lengthToSeal(open, [fence(A, undefined)]), 0);
  t.is(lengthToSeal(open, [fence(A, undefined, { epoch: 2 })]), undefined);
});

test('I5 nothing is sealed shorter than what is known to be acknowledged', t => {
  t.is(lengthToSeal({ ...open, lengthBytes: 20 }, [fence(A, 10)]), undefined);
  t.is(lengthToSeal({ ...open, lengthBytes: 20 }, [fence(A, undefined)]), undefined);
  t.is(lengthToSeal({ ...open, lengthBytes: 20 }, [fence(A, 10), fence(B, 25)]), 25);
});

test('§3.1 a lease is granted only when the whole chain answers alike', t => {
  t.is(grantedLength(open, [fence(A, 10), fence(B, 10), fence(C, 10)]), 10);
  t.is(grantedLength(open, [fence(A, 10), fence(B, 10), fence(C, 11)]), undefined);
  t.is(grantedLength(open, [fence(A, 10), fence(B, 10)]), undefined);
  t.is(grantedLength(open, [fence(A, 10), fence(B, 10), fence(C, 10, { suspect: true })]), undefined);
  t.is(grantedLength(open, [fence(A, undefined), fence(B, undefined), fence(C, undefined)]), undefined);
});

const chunk: ChunkRecord = {
  handle: H,
  state: 'sealed',
  version: 3,
  lengthBytes: 100,
  known: true,
  goal: 3,
  references: 1,
  inode: 2 as InodeId,
  chain: CHAIN,
  createdMs: 0,
  modifiedMs: 0,
};

function plan(
  replicas: Replica[],
  down: Partial<Record<ServerId, number>> = {},
  more: Partial<ChunkRecord> = {},
  draining?: ServerId,
) {
  const facts: HealingFacts = {
    chunk: { ...chunk, ...more },
    replicas,
    downForMs: server => down[server] ?? 0,
    rereplicateAfterMs: 1_000,
    ageMs: 400,
    upCount: 4,
    goal: 3,
    isDraining: server => server === draining,
    hasRoom: () => true,
    leastWanted: servers => servers[servers.length - 1]!,
  };
  return nextStep(facts);
}

test('§4.3 healing: missing tails first, then new copies once a server is away long enough', t => {
  t.deepEqual(plan([replica(A), replica(B), replica(C)]), { kind: 'none' });
  t.deepEqual(plan([replica(A), replica(B, { lengthBytes: 50 })]), { kind: 'repair', server: B });
  t.deepEqual(plan([replica(A), replica(B), replica(C)], { [C]: 400 }), { kind: 'later', afterMs: 600 });
  t.deepEqual(plan([replica(A), replica(B), replica(C)], { [C]: 1_000 }), {
    kind: 'copy',
    holders: [A, B],
    corrupt: [],
  });
  t.deepEqual(plan([replica(A), replica(B)], { [C]: 400 }), { kind: 'later', afterMs: 600 });
});

test('healing: a draining server that is down is not waited for, as what it brings back does not count', t => {
  const replicas = [replica(A), replica(B), replica(C)];
  t.deepEqual(plan(replicas, { [C]: 400 }, {}, C), { kind: 'copy', holders: [A, B], corrupt: [] });
  t.deepEqual(plan(replicas, { [C]: 400 }, {}, D), { kind: 'later', afterMs: 600 });
});

test('healing: a corrupt replica is replaced elsewhere before it is deleted; with no good one they mend each other', t => {
  t.deepEqual(plan([replica(A), replica(B), replica(C, { corrupt: true })]), {
    kind: 'copy',
    holders: [A, B, C],
    corrupt: [C],
  });
  t.deepEqual(plan([replica(A), replica(B), replica(D), replica(C, { corrupt: true })]), {
    kind: 'delete',
    server: C,
    why: 'corrupt',
  });
  const [a, b] = [replica(A, { corrupt: true }), replica(B, { corrupt: true })];
  t.deepEqual(plan([a, b]), { kind: 'mend', servers: [A, B] });
  // One that lacks bytes cannot be mended in place, and one that lacks none but the recorded length is better.
  t.deepEqual(plan([a, replica(B, { corrupt: true, lengthBytes: 50 })]), { kind: 'mend', servers: [A] });
  t.deepEqual(plan([replica(A, { corrupt: true, lengthBytes: 50 })]), { kind: 'none' });
  t.deepEqual(plan([a, replica(B, { lengthBytes: 50 })]), { kind: 'mend', servers: [A] });
  t.deepEqual(plan([a, replica(B, { state: 'fenced' })]), { kind: 'repair', server: B });
});

test('healing: an open chunk with a damaged member is sealed when any member, or all together, can say how long it is', t => {
  const open = { state: 'open' as const };
  const damaged = CHAIN.map(({ server }) => replica(server, { ...open, corrupt: true }));
  t.deepEqual(plan(damaged, {}, open), { kind: 'seal' });
  // All lost power: nobody may have to append before the chunk is well again.
  const suspect = CHAIN.map(({ server }) => replica(server, { ...open, suspect: true }));
  t.deepEqual(plan(suspect, {}, open), { kind: 'seal' });
  t.deepEqual(plan(suspect, { [B]: 900 }, open), { kind: 'later', afterMs: 100 });
});

test('healing: with no current replica, the one that only lacks the recorded length comes before those that lack bytes', t => {
  const empty = replica(A, { state: 'fenced', lengthBytes: 0 });
  const full = replica(B, { state: 'fenced', lengthBytes: 100 });
  t.deepEqual(plan([empty, full]), { kind: 'repair', server: B });
  t.deepEqual(plan([empty, replica(B)]), { kind: 'repair', server: A });
});

test('healing: surplus copies go, garbage is left alone, an open chunk with a lost member is sealed first', t => {
  t.deepEqual(plan([replica(A), replica(B), replica(C), replica(D)]), { kind: 'delete', server: D, why: 'surplus' });
  t.deepEqual(plan([replica(A)], {}, { garbageDueMs: 5, references: 0 }), { kind: 'none' });
  t.deepEqual(plan([], { [B]: 2_000 }, { state: 'open' }), { kind: 'seal' });
  t.deepEqual(plan([], { [B]: 900 }, { state: 'open' }), { kind: 'later', afterMs: 100 });
  t.deepEqual(plan([], {}, { state: 'open' }), { kind: 'none' });
  t.deepEqual(plan([], {}, { state: 'open', chain: CHAIN.slice(0, 2) }), { kind: 'later', afterMs: 600 });
});
