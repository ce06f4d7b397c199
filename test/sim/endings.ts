// What some seeds do once all is well, when no workload is in the way: a block goes in all its copies, or in all but one when fewer are wanted, or a server
// is drained, and then destroyed at the cluster's word that it may be. Each ends with a cluster that is well again; how long that may take is the
// scenario's business.
import { findChunk } from '../../src/master/chunks.js';
import type { Actor } from './actor.js';
import { findUnclean } from './checked.js';
import { type Cluster, DATA_DIRECTORIES, MASTER_ADDRESS } from './cluster.js';
import { findUnhealed } from './healed.js';
import { LOST_BLOCK, LostBlock } from './lost-block.js';
import { drainServer, forgetServer, repairChunks, setReplication } from './operator.js';
import type { SimRandom } from './platform/sim-random.js';
import { allChunks, trueReplicas } from './truth.js';

export interface EndingParts {
  cluster: Cluster;
  random: SimRandom;
  /** Those that stay: one in the trash may go at any time. */
  files: ReadonlySet<number>;
  /** Lets a client that has seen nothing do `work`; false when the scenario is to end. */
  withReader: (name: string, work: (actor: Actor) => Promise<void>) => Promise<boolean>;
  /** Reads every file, except one. */
  readAll: (actor: Actor, except?: number) => Promise<void>;
  /** Looks again and again until nothing is wrong, and fails with what still is when the time for it is over. */
  await: (promise: string, look: () => Promise<string | undefined>) => Promise<void>;
  until: (isReached: () => boolean) => Promise<boolean>;
  fail: (promise: string, what: string) => void;
  isFailed: () => boolean;
}

export const HEALED =
  'After faults end every sealed chunk has its goal of identical replicas that match their checksums, and no orphan remains.';
export const CLEAN = "The master's own check finds nothing when all is well.";
const GOAL_MIN = 2;
const DRAINED =
  'A server is safe to stop some time after it began to be drained, and then all it has stands elsewhere.';

/** Beyond what the cluster can save: one block goes in all its copies, until one of them is good again. */
export async function loseBlock(parts: EndingParts): Promise<void> {
  const { cluster, random, withReader, isFailed } = parts;
  const lost = LostBlock.make(cluster, random, [...parts.files]);
  if (!lost || !(await withReader('last3', actor => lost.read(actor)))) return;
  await parts.await(LOST_BLOCK, () => lost.findWrong());
  const readOthers = async (actor: Actor): Promise<void> => {
    await lost.read(actor);
    await parts.readAll(actor, lost.inode);
  };
  if (isFailed() || !(await withReader('last4', readOthers))) return;
  const gone = lost.findGone();
  if (gone !== undefined) parts.fail(LOST_BLOCK, gone);
  lost.bringBack(random);
  cluster.addOperator('repairer', platform => repairChunks(platform, MASTER_ADDRESS));
  await parts.await(HEALED, async () => findUnhealed(cluster));
  if (!isFailed()) await withReader('last5', actor => parts.readAll(actor));
}

/** All copies of a block but one are damaged, and before anybody can have noticed fewer copies are wanted: the good one must not be what goes. */
export async function wantFewer(parts: EndingParts): Promise<void> {
  const { cluster, random, isFailed } = parts;
  const { store } = cluster.masterProcess!.rooms.context;
  const replicas = trueReplicas(cluster);
  const choices = allChunks(store).filter(
    ({ handle, goal, inode, references }) =>
      goal > GOAL_MIN && references > 0 && parts.files.has(inode) && (replicas.get(handle)?.length ?? 0) === goal,
  );
  const chunk = choices[random.int(Math.max(1, choices.length))];
  if (chunk?.state !== 'sealed' || chunk.lengthBytes === 0 || chunk.inode === 0) return;
  const copies = replicas.get(chunk.handle)!;
  const at = random.int(chunk.lengthBytes);
  const good = random.int(copies.length);
  for (const [i, { machine, path }] of copies.entries()) if (i !== good) machine.node.disk.flipBit(path, at);
  const { inode } = chunk;
  cluster.addOperator('setrep', platform =>
    setReplication(platform, { master: MASTER_ADDRESS, inode, goal: GOAL_MIN }),
  );
  // Until it is wanted so, all may look well.
  await parts.until(() => findChunk(store, chunk.handle)?.goal === GOAL_MIN);
  await parts.await(HEALED, async () => findUnhealed(cluster));
  if (!isFailed()) await parts.withReader('last7', actor => parts.readAll(actor));
}

/** A server is drained, destroyed as soon as that is said to be safe, and forgotten. */
export async function decommission(parts: EndingParts): Promise<void> {
  const { cluster, random, isFailed } = parts;
  const { store } = cluster.masterProcess!.rooms.context;
  const chunks = allChunks(store).filter(({ garbageDueMs }) => garbageDueMs === undefined);
  // Where the others are too few draining has no end, and says so.
  if (cluster.servers.length - 1 < Math.max(...chunks.map(({ goal }) => goal))) return;
  const machine = cluster.servers[random.int(cluster.servers.length)]!;
  const { server } = cluster.serverProcesses.get(machine.name)!;
  let isSafe = false;
  cluster.addOperator('drainer', platform =>
    drainServer(platform, { master: MASTER_ADDRESS, server }).then(() => {
      isSafe = true;
    }),
  );
  if (!(await parts.until(() => isSafe)))
    return isFailed() ? undefined : parts.fail(DRAINED, `${machine.name} is not.`);
  const few = findTooFew(cluster, machine.name);
  if (few !== undefined) return parts.fail(DRAINED, few);
  machine.kill();
  for (const directory of DATA_DIRECTORIES) {
    machine.node.disk.wipe(directory);
    machine.node.kv.wipe(`${directory}/index`);
  }
  let isForgotten = false;
  cluster.addOperator('forgetter', platform =>
    forgetServer(platform, { master: MASTER_ADDRESS, server }).then(() => {
      isForgotten = true;
    }),
  );
  if (!(await parts.until(() => isForgotten)))
    return isFailed() ? undefined : parts.fail(DRAINED, `${machine.name} cannot be forgotten.`);
  await parts.await(HEALED, async () => findUnhealed(cluster));
  await parts.await(CLEAN, () => findUnclean(cluster));
  if (!isFailed()) await parts.withReader('last6', actor => parts.readAll(actor));
}

/** A chunk with fewer good copies than it wants, without those on `except`. */
function findTooFew(cluster: Cluster, except: string): string | undefined {
  const { store } = cluster.masterProcess!.rooms.context;
  const replicas = trueReplicas(cluster);
  for (const chunk of allChunks(store)) {
    if (chunk.state !== 'sealed' || chunk.lengthBytes === 0 || chunk.garbageDueMs !== undefined) continue;
    const others = (replicas.get(chunk.handle) ?? []).filter(({ machine }) => machine.name !== except);
    const good = others.filter(replica => replica.isSealedAs(chunk) && replica.goodBytes() !== undefined);
    if (good.length < chunk.goal)
      return `Chunk ${chunk.handle} has ${good.length} good copies elsewhere, ${chunk.goal} are wanted.`;
  }
  return undefined;
}
