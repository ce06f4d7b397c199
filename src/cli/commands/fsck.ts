// gfs fsck: names, extents, chunks and replicas against one another, with the bytes of files that cannot be read. It ends with 1 when
// something is wrong, also when it was handed to healing.
import type { Command } from 'commander';
import { hasCode } from '../../protocol/errors.js';
import { handleName, type InodeId, ROOT_INODE } from '../../protocol/ids.js';
import { LIMITS } from '../../protocol/limits.js';
import type { Reply } from '../../protocol/messages.js';
import type { AskMaster } from '../connect.js';
import { EXIT } from '../exit.js';
import { about, asOperator, optionsOf, placeOf, print, printJson, type SessionOptions, withClient } from './session.js';
import { howMany } from './table.js';

type FileFinding = Reply<'checkFiles'>['findings'][number];
type Finding = FileFinding['finding'];
type Orphans = Reply<'checkOrphans'>;
type Range = Pick<FileFinding, 'fromByte' | 'lengthBytes'>;

export interface Result {
  metadata: Reply<'checkMetadata'> | undefined;
  files: number;
  fileFindings: FileFinding[];
  chunks: number;
  chunkFindings: Finding[];
  orphans: Reply<'checkOrphans'> | undefined;
  safemode: Reply<'safemode'>;
}

/** Reading all metadata of a large cluster takes a while. */
const METADATA_MS_MAX = 600_000;

export function addCheckCommand(program: Command): void {
  program
    .command('fsck')
    .description('check names, extents, chunks and replicas against one another; say which bytes cannot be read')
    .argument('[PATH]', 'only files here; without it all that the cluster has', '/')
    .option('--repair', 'put right what can be: contradictions in the metadata, copies, replicas of deleted chunks')
    .addHelpText(
      'after',
      `
Without --repair nothing is changed, and of each contradiction in the metadata it is said what a repair would do, or why there is none. With it those are
repaired first, and missing, stale and corrupt copies are queued for healing before anything else; run gfs fsck again to see the outcome. No bytes of
a file are given up: what nothing names any more gets a name in /lost+found. A copy is never deleted unless enough good ones stand.
Ends with 0 when all is well, 1 when something is wrong.

Examples:
  gfs fsck
  gfs fsck /logs --json
  gfs fsck --repair`,
    )
    .action((path, _, command) => check(path, optionsOf(command)));
}

async function check(path: string, options: SessionOptions & { repair?: boolean }): Promise<void> {
  const where = placeOf(path);
  const under = await withClient(options, client =>
    about(path, async () => (await client.lookup(where, { follow: true })).inode as InodeId),
  );
  const repair = options.repair === true;
  const result = await asOperator(options, ask => checkAll(ask, { under, repair, prefix: where.path }));
  const isWell = countProblems(result) === 0;
  if (options.json) printJson(jsonResult(result, { path, repair, isWell }));
  else show(result, { repair, isWell });
  if (!isWell) process.exitCode = EXIT.failed;
}

export interface Job {
  under: InodeId;
  repair: boolean;
  /** Path of `under`, without a leading slash. */
  prefix: string;
}

async function checkAll(ask: AskMaster, job: Job): Promise<Result> {
  const isAll = job.under === ROOT_INODE;
  const { repair } = job;
  const safemode = await ask('safemode', { action: 'get' });
  // First: the other checks rely on it.
  const metadata = isAll ? await ask('checkMetadata', { repair }, METADATA_MS_MAX) : undefined;
  const files = await asFarAsItGoes(metadata, () => checkFiles(ask, job), { files: 0, fileFindings: [] });
  const noChunks = { chunks: 0, chunkFindings: [] };
  const chunks = isAll ? await asFarAsItGoes(metadata, () => checkChunks(ask, job), noChunks) : noChunks;
  const orphans = isAll ? await ask('checkOrphans', { repair }) : undefined;
  return { safemode, metadata, ...files, ...chunks, orphans };
}

/** On metadata that contradicts itself a check may end early; what was found of the metadata is to be shown all the same. */
async function asFarAsItGoes<T>(metadata: Result['metadata'], work: () => Promise<T>, nothing: T): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!metadata || metadata.problems.length === 0 || !hasCode(error, 'FAILED', 'WRONG_DATA')) throw error;
    metadata.problems.push(`a check ended because of what stands above: ${error.message}`);
    return nothing;
  }
}

export async function checkFiles(
  ask: AskMaster,
  { under, repair, prefix }: Job,
): Promise<Pick<Result, 'files' | 'fileFindings'>> {
  const result = { files: 0, fileFindings: [] as FileFinding[] };
  for (let after: Reply<'checkFiles'>['next']; ; ) {
    const request = { under, ...(after ? { after } : {}), limit: LIMITS.checkPageMax, repair };
    const page: Reply<'checkFiles'> = await ask('checkFiles', request);
    result.files += page.files;
    for (const finding of page.findings) result.fileFindings.push({ ...finding, path: finding.path || prefix });
    if (!page.next) return result;
    after = page.next;
  }
}

async function checkChunks(ask: AskMaster, { repair }: Job): Promise<Pick<Result, 'chunks' | 'chunkFindings'>> {
  const result = { chunks: 0, chunkFindings: [] as Finding[] };
  for (let after: number | undefined = 0; after !== undefined; ) {
    const page: Reply<'checkChunks'> = await ask('checkChunks', { after, limit: LIMITS.checkPageMax, repair });
    result.chunks += page.chunks;
    result.chunkFindings.push(...page.findings);
    after = page.next;
  }
  return result;
}

function countProblems({ metadata, fileFindings, chunkFindings, orphans, safemode }: Result): number {
  return (
    Number(safemode.oldMetadata) +
    (metadata?.problems.length ?? 0) +
    fileFindings.length +
    chunkFindings.length +
    (orphans ? countUnexplained(orphans) : 0)
  );
}

/** A client that was refused is not the cluster's trouble. */
function refusedServers({ refused = [] }: Orphans): NonNullable<Orphans['refused']> {
  return refused.filter(({ role }) => role === 'chunkserver');
}

function countUnexplained(orphans: Orphans): number {
  const { total, newerTotal = 0, ahead = [] } = orphans;
  return total + newerTotal + ahead.length + refusedServers(orphans).length;
}

/** Chunks that no file of the tree named: those of the trash. */
function unnamed({ fileFindings, chunkFindings }: Result): Finding[] {
  const named = new Set(fileFindings.map(({ finding }) => finding.handle));
  return chunkFindings.filter(({ handle }) => !named.has(handle));
}

function show(result: Result, { repair, isWell }: { repair: boolean; isWell: boolean }): void {
  const { metadata, files, fileFindings, chunks, orphans, safemode } = result;
  if (safemode.oldMetadata)
    print(`metadata: ${safemode.reason}; start the master on the newest copy; gfs recover says more`);
  else if (safemode.on) print(`in safe mode (${safemode.reason}): not all servers may have said what they hold`);
  for (const { problem, action } of metadata?.repaired ?? []) print(`metadata: ${problem}; repaired: ${action}`);
  for (const line of showMetadata(metadata)) print(line);
  if (metadata && !metadata.exact && metadata.problems.length > 0)
    print('metadata: it changed while it was read; what stands above was seen several times');
  for (const found of fileFindings) {
    const { path, finding } = found;
    const isOpen = finding.state === 'open';
    const advice = isOpen ? `; gfs recover /${path} shows why` : '';
    for (const range of unreadable(found))
      print(`/${path}: ${showRange(range.fromByte, isOpen ? 0 : range.lengthBytes)} cannot be read${advice}`);
    print(`/${path}: ${showFinding(finding)}`);
  }
  for (const finding of unnamed(result)) print(`in the trash: ${showFinding(finding)}`);
  for (const line of orphans ? showUnexplained(orphans) : []) print(line);
  const scope = [howMany(files, 'file'), ...(metadata ? [howMany(chunks, 'chunk')] : [])].join(', ');
  if (isWell) print(`${scope}: all is well`);
  else print(`${scope}: ${countAffected(result)}${repair ? '; what can be healed is queued for healing' : ''}`);
}

function* showUnexplained(orphans: Orphans): Generator<string> {
  const named = ({ server, address }: { server: string; address: string }) => `chunkserver ${server} (${address})`;
  for (const orphan of orphans.orphans) {
    const what = `${named(orphan)}: unknown replica ${handleName(orphan.handle)}, version ${orphan.version}`;
    yield orphan.neverGiven ? `${what}: this metadata never gave that chunk out` : what;
  }
  for (const replica of orphans.newer ?? []) {
    const { handle, version, known } = replica;
    yield `${named(replica)}: version ${version} of chunk ${handleName(handle)}, this metadata knows ${known}`;
  }
  for (const server of orphans.ahead ?? [])
    yield `${named(server)}: was told of change ${server.heard} of the metadata, of which this one has what was written up to change ${server.has}`;
  for (const { host, reason, times } of refusedServers(orphans))
    yield `a chunkserver at ${host} was refused ${howMany(times, 'time')}: ${reason}`;
}

function* showMetadata(metadata: Result['metadata']): Generator<string> {
  for (const [i, problem] of (metadata?.problems ?? []).entries()) {
    const remedy = metadata?.remedies?.[i];
    yield `metadata: ${problem}`;
    if (remedy) yield `  ${remedy.repairable ? 'gfs fsck --repair' : 'it is not repaired:'} ${remedy.text}`;
  }
}

function countAffected(result: Result): string {
  const { metadata, fileFindings, orphans } = result;
  const files = new Set(fileFindings.map(({ inode }) => inode)).size;
  const damaged = new Set(fileFindings.filter(found => unreadable(found).length > 0).map(({ inode }) => inode)).size;
  const chunks = new Set(
    [...fileFindings.map(({ finding }) => finding), ...unnamed(result)].map(({ handle }) => handle),
  );
  const parts = [`${howMany(chunks.size, 'chunk')} of ${howMany(files, 'file')} not as they should be`];
  parts.push(`bytes of ${howMany(damaged, 'file')} cannot be read`);
  if (metadata && metadata.problems.length > 0)
    parts.push(`${howMany(metadata.problems.length, 'contradiction')} in the metadata`);
  if (orphans && orphans.total > 0) parts.push(howMany(orphans.total, 'unknown replica'));
  if (orphans?.newerTotal) parts.push(`${howMany(orphans.newerTotal, 'replica')} newer than known`);
  return parts.join(', ');
}

/** Ranges of the file that cannot be read: all of the piece, unless its servers said which blocks every copy has damaged. */
function unreadable({ fromByte, lengthBytes, finding, lost }: FileFinding): Range[] {
  if (!finding.problems.includes('unreadable')) return [];
  return lost ?? [{ fromByte, lengthBytes }];
}

/** Of a chunk that is still open the end is not known: 0. */
export function showRange(fromByte: number, lengthBytes: number): string {
  return lengthBytes === 0 ? `everything from byte ${fromByte}` : `bytes ${fromByte} to ${fromByte + lengthBytes - 1}`;
}

function showFinding({ handle, state, goal, good, problems, replicas }: Finding): string {
  const bad = replicas.filter(replica => replica.state !== 'current');
  const where = bad.map(replica => `${replica.state} on ${replica.address || replica.server}`).join(', ');
  const list = problems.filter(problem => problem !== 'unreadable').join(', ');
  return `chunk ${handleName(handle)} (${state}): ${good} of ${goal} copies good${list ? `, ${list}` : ''}${where ? ` (${where})` : ''}`;
}

function jsonResult(result: Result, { path, repair, isWell }: { path: string; repair: boolean; isWell: boolean }) {
  const { metadata, files, fileFindings, chunks, orphans, safemode } = result;
  return {
    path,
    clean: isWell,
    repair,
    safemode: safemode.on,
    oldMetadata: safemode.oldMetadata,
    reason: safemode.reason,
    files,
    chunks,
    metadata: metadata ?? { problems: [], exact: false },
    unreadable: fileFindings.flatMap(found =>
      unreadable(found).map(range => ({ path: `/${found.path}`, from: range.fromByte, length: range.lengthBytes })),
    ),
    problems: [
      ...fileFindings.map(found => ({
        path: `/${found.path}`,
        from: found.fromByte,
        length: found.lengthBytes,
        ...jsonFinding(found.finding),
      })),
      ...unnamed(result).map(jsonFinding),
    ],
    orphans: (orphans?.orphans ?? []).map(orphan => ({ ...orphan, handle: handleName(orphan.handle) })),
    newer: (orphans?.newer ?? []).map(replica => ({ ...replica, handle: handleName(replica.handle) })),
    ahead: orphans?.ahead ?? [],
    refused: orphans ? refusedServers(orphans) : [],
    deleting: orphans?.deleting ?? 0,
  };
}

function jsonFinding({ handle, state, version, lengthBytes, goal, good, problems, replicas }: Finding) {
  return {
    handle: handleName(handle),
    ...{ state, version, goal, good, problems },
    chunkLength: lengthBytes,
    replicas: replicas.map(({ lengthBytes: length, ...replica }) => ({ ...replica, length })),
  };
}
