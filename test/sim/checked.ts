// The master's own check of the cluster (`gfs fsck`, without a path), called as its handlers call it, behind the back of the network.
import { checkChunks, checkFiles, checkOrphans } from '../../src/master/fsck.js';
import { checkMetadata } from '../../src/master/metadata-repair.js';
import { ROOT_INODE } from '../../src/protocol/ids.js';
import { LIMITS } from '../../src/protocol/limits.js';
import type { Reply } from '../../src/protocol/messages.js';
import type { Cluster } from './cluster.js';

const PAGE = { limit: LIMITS.checkPageMax, repair: false } as const;

/** A sentence about the first contradiction in the metadata, or undefined. */
export async function findContradiction(cluster: Cluster): Promise<string | undefined> {
  const rooms = cluster.masterProcess?.rooms;
  if (!rooms) return 'The master does not run.';
  const { problems } = await checkMetadata(rooms, { repair: false });
  return problems[0];
}

/** A sentence about the first thing that is not clean, or undefined. */
export async function findUnclean(cluster: Cluster): Promise<string | undefined> {
  const rooms = cluster.masterProcess?.rooms;
  if (!rooms) return 'The master does not run.';
  if (rooms.context.safeMode.isOn) return `The master is in safe mode: ${rooms.context.safeMode.reason}.`;
  const contradiction = await findContradiction(cluster);
  if (contradiction !== undefined) return `The metadata contradicts itself: ${contradiction}.`;
  for (let after = 0, isEnd = false; !isEnd; ) {
    const { findings, next } = await checkChunks(rooms, { ...PAGE, after });
    if (findings[0]) return showFinding(findings[0]);
    isEnd = next === undefined;
    after = next ?? 0;
  }
  for (let after: Reply<'checkFiles'>['next'], isEnd = false; !isEnd; ) {
    const { findings, next } = await checkFiles(rooms, { ...PAGE, under: ROOT_INODE, ...(after ? { after } : {}) });
    if (findings[0]) return `${findings[0].path}: ${showFinding(findings[0].finding)}`;
    isEnd = next === undefined;
    after = next;
  }
  const { total, deleting, orphans } = checkOrphans(rooms, { repair: false });
  if (total > 0) return `${total} orphans, the first is chunk ${orphans[0]?.handle} on ${orphans[0]?.address}.`;
  if (deleting > 0) return `${deleting} replicas still wait to be deleted.`;
  return undefined;
}

function showFinding({
  handle,
  state,
  goal,
  good,
  problems,
  replicas,
}: Reply<'checkChunks'>['findings'][number]): string {
  const where = replicas.map(replica => `${replica.address} ${replica.state}`).join(', ');
  return `chunk ${handle} (${state}) is ${problems.join(', ')}: ${good} of ${goal} good (${where}).`;
}
