// The rule by which a chunk's final length is chosen from what the members of its chain answered to a fence (DESIGN 4, rules 3 and 4), and
// the rule by which a grant is good. Pure functions; a copy of the rules that the model in shared/design/model proved.
import type { ServerId } from '../protocol/ids.js';
import type { ChunkRecord } from './records.js';

export interface FenceAnswer {
  server: ServerId;
  exists: boolean;
  lengthBytes: number;
  suspect: boolean;
  /** Of the answering process; of the first such fence where the chunk does not exist. */
  epoch: number;
  fixed: boolean;
  corrupt?: boolean | undefined;
}

export interface GrantAnswer {
  server: ServerId;
  exists: boolean;
  lengthBytes: number;
  suspect: boolean;
  epoch: number;
}

/**
 * The length to seal at, or undefined when those that answered may not decide. `patient`: neither may damaged ones, while others that may be sound have
 * not answered. Sealed at bytes that only a damaged one had, the chunk could lose what was acknowledged in the same block: shorter ones cannot mend it.
 */
export function lengthToSeal(
  chunk: Pick<ChunkRecord, 'chain' | 'lengthBytes'>,
  answers: readonly FenceAnswer[],
  { patient = false }: { patient?: boolean } = {},
): number | undefined {
  const allAnswered = chunk.chain.every(({ server }) => answers.some(answer => answer.server === server));
  const isDecided = answers.some(answer => isTrusted(chunk, answer)) || (allAnswered && answers.length > 0);
  if (!isDecided) return undefined;
  // A length that was fixed was recorded by a master before: with this master's metadata intact that cannot be, and with an old copy it counts.
  const fixed = answers.find(answer => answer.fixed);
  // The longest of all, the untrusted ones too: what they have is a prefix of what the primary had (I1). But not of damaged ones where a good one shows all
  // that was acknowledged: bytes that only they have could be read nowhere, and they would take what is good along.
  const hasSound = answers.some(answer => !answer.corrupt && isTrusted(chunk, answer));
  if (patient && !hasSound && !allAnswered) return undefined;
  const counting = hasSound ? answers.filter(({ corrupt }) => !corrupt) : answers;
  const lengthBytes =
    fixed?.lengthBytes ?? Math.max(...counting.map(answer => (answer.exists ? answer.lengthBytes : 0)));
  // I5: never shorter than what is known to be acknowledged, whatever the answers are.
  return lengthBytes < chunk.lengthBytes ? undefined : lengthBytes;
}

/**
 * The length at an operator's word (DESIGN 4, rule 8): the longest of what is left, and never shorter than what is recorded, whose missing bytes stay
 * unreadable until a server that holds them comes back. Undefined when nobody answered.
 */
export function lengthToAccept(
  chunk: Pick<ChunkRecord, 'lengthBytes'>,
  answers: readonly FenceAnswer[],
): number | undefined {
  if (answers.length === 0) return undefined;
  const fixed = answers.find(answer => answer.fixed);
  const found = fixed?.lengthBytes ?? Math.max(...answers.map(answer => (answer.exists ? answer.lengthBytes : 0)));
  return Math.max(found, chunk.lengthBytes);
}

/** Whether this answer alone shows everything that was ever acknowledged. */
function isTrusted(chunk: Pick<ChunkRecord, 'chain'>, answer: FenceAnswer): boolean {
  if (answer.exists) return !answer.suspect;
  // "No such chunk" proves that there was none only if the process has not been replaced since the allocation: it may have lost it otherwise.
  return chunk.chain.some(({ server, epoch }) => server === answer.server && epoch === answer.epoch);
}

/** The length that all members hold, or undefined when the chunk must be sealed: a member missing, unlike, suspect or without the chunk. */
export function grantedLength(
  chunk: Pick<ChunkRecord, 'chain' | 'lengthBytes'>,
  answers: readonly GrantAnswer[],
): number | undefined {
  if (answers.length !== chunk.chain.length) return undefined;
  const lengthBytes = answers[0]!.lengthBytes;
  const allAlike = answers.every(answer => answer.exists && !answer.suspect && answer.lengthBytes === lengthBytes);
  return allAlike && lengthBytes >= chunk.lengthBytes ? lengthBytes : undefined;
}
