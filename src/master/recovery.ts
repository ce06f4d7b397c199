// The end of a file that cannot be decided without an operator (DESIGN 4, rule 8): shows what the members of its open chunk still have, and at an
// operator's word lets those that are left decide. Bytes that fsync confirmed are on the disk of every member, so they are never at stake.
import { GfsError } from '../protocol/errors.js';
import type { Reply, Request } from '../protocol/messages.js';
import type { Rooms } from './api-context.js';
import { isOpen, tailOf } from './chunks.js';
import { getFile } from './inodes.js';
import { resolve } from './namespace.js';
import type { ChunkRecord } from './records.js';
import { type FenceAnswer, lengthToAccept, lengthToSeal } from './seal-decision.js';
import { isDeserted } from './sealing.js';

type RecoverReply = Reply<'recoverFile'>;
type Tail = NonNullable<RecoverReply['tail']>;
type Member = Tail['members'][number];

/** With `accept` durable when it settles. Throws UNAVAILABLE (accept: no member answers), INVALID (accept: nothing is stuck), and what `resolve` throws. */
export async function recoverFile(
  rooms: Rooms,
  { where, accept }: Request<'recoverFile'>,
  deadlineMs: number,
): Promise<RecoverReply> {
  const { store } = rooms.context;
  const file = getFile(store, resolve(store, where, true).inode);
  const chunk = tailOf(store, file);
  const attributes = rooms.views.glance(file);
  if (!chunk || !isOpen(chunk)) return { attributes, sealed: false };
  const tail = await lookAt(rooms, chunk, file.sealedBytes);
  if (!accept) return { attributes, tail, sealed: false };
  if (!tail.stuck)
    throw new GfsError('INVALID', 'nothing has to be accepted: the end of the file can be decided without it');
  if (tail.acceptBytes === undefined)
    throw new GfsError(
      'UNAVAILABLE',
      `no server that holds the last chunk (${chunk.handle}) answers: start one of them, or forget them if they are gone for good`,
    );
  await rooms.sealing.sealAccepting(chunk.handle, deadlineMs);
  const sealed = getFile(store, file.inode);
  return { attributes: rooms.views.glance(sealed), tail, sealed: true };
}

async function lookAt(rooms: Rooms, chunk: ChunkRecord, base: number): Promise<Tail> {
  const { context } = rooms;
  const members = await Promise.all(chunk.chain.map(({ server }) => ask(rooms, chunk, server)));
  const answers = members.flatMap(member => (member.state === 'unreachable' ? [] : [answerOf(rooms, member)]));
  const isLeased = context.leases.live(chunk.handle, context.time.nowMs()) !== undefined;
  const stuck = !isLeased && lengthToSeal(chunk, answers) === undefined;
  const acceptBytes = isDeserted(chunk, context.servers) ? chunk.lengthBytes : lengthToAccept(chunk, answers);
  return {
    handle: chunk.handle,
    version: chunk.version,
    base,
    recordedBytes: chunk.lengthBytes,
    stuck,
    ...(acceptBytes === undefined ? {} : { acceptBytes }),
    members,
  };
}

/** What one member has, without stopping its appends. */
async function ask({ context }: Rooms, { handle }: ChunkRecord, server: Member['server']): Promise<Member> {
  const address = context.servers.get(server)?.address ?? '';
  try {
    const { exists, unseen, report } = await context.orders.give(server, 'inspectChunk', { handle });
    if (!exists || !report) return { server, address, state: unseen ? 'unreachable' : 'none', lengthBytes: 0 };
    const isDoubtful = report.suspect || report.corrupt;
    return { server, address, state: isDoubtful ? 'suspect' : 'good', lengthBytes: report.lengthBytes };
  } catch (error) {
    if (!(error instanceof GfsError)) throw error;
    return { server, address, state: 'unreachable', lengthBytes: 0 };
  }
}

/** As it would answer a fence. */
function answerOf({ context }: Rooms, { server, state, lengthBytes }: Member): FenceAnswer {
  const epoch = context.servers.get(server)?.epoch ?? 0;
  return { server, exists: state !== 'none', lengthBytes, suspect: state === 'suspect', epoch, fixed: false };
}
