// gfs forget: a chunkserver that is gone for good leaves the cluster's books, with the files named that lose bytes with it.
import type { Command } from 'commander';
import { handleName, ROOT_INODE } from '../../protocol/ids.js';
import type { Reply } from '../../protocol/messages.js';
import type { AskMaster } from '../connect.js';
import { EXIT } from '../exit.js';
import { checkFiles, showRange } from './fsck.js';
import { asOperator, optionsOf, print, printJson, type SessionOptions } from './session.js';
import { howMany, showBytes } from './table.js';

type ForgetReply = Reply<'forgetServer'>;

/** A piece of a file in a chunk that may be lost. */
interface Piece {
  path: string;
  handle: number;
  from: number;
  /** 0: the end of the file is not known. */
  length: number;
}

/** The master looks at every chunk. */
const FORGET_MS_MAX = 120_000;

export function addForgetCommand(program: Command): void {
  program
    .command('forget')
    .description('take a chunkserver that is gone for good out of the books')
    .argument('<SERVER>', 'its id, the beginning of its id, or its address, as gfs report shows them')
    .option(
      '--accept-loss',
      'forget it although chunks may have no good copy anywhere else: their bytes stay unreadable',
    )
    .addHelpText(
      'after',
      `
Only a server that is down, and has been for as long as a lease lasts, is forgotten. While the only good copy of a chunk could be on it the command
changes nothing, names the files and ends with 1: start that server, or others that are down. If they are lost for good, --accept-loss gives up.
No copy is deleted for it: should the server come back, it is a new one, and what is good on it counts again.

Examples:
  gfs forget 10.0.0.7:9410
  gfs forget 10.0.0.7:9410 --accept-loss`,
    )
    .action((server, _, command) => forget(server, optionsOf(command)));
}

async function forget(server: string, options: SessionOptions & { acceptLoss?: boolean }): Promise<void> {
  const { reply, pieces } = await asOperator(options, async ask => {
    const request = { server, acceptLoss: options.acceptLoss === true };
    const reply = await ask('forgetServer', request, FORGET_MS_MAX);
    return { reply, pieces: reply.atRisk.total > 0 ? await piecesOf(ask, reply) : [] };
  });
  if (!reply.forgotten) process.exitCode = EXIT.failed;
  if (options.json) return printJson(jsonResult(reply, pieces));
  show(reply, pieces);
}

/** Where in files the chunks at risk stand. */
async function piecesOf(ask: AskMaster, { atRisk }: ForgetReply): Promise<Piece[]> {
  const handles = new Set<number>(atRisk.handles);
  const { fileFindings } = await checkFiles(ask, { under: ROOT_INODE, repair: false, prefix: '' });
  return fileFindings.flatMap(({ path, fromByte, lengthBytes, finding }) => {
    if (!handles.has(finding.handle)) return [];
    const length = finding.state === 'open' ? 0 : lengthBytes;
    return [{ path: `/${path}`, handle: finding.handle, from: fromByte, length }];
  });
}

function show({ server, address, forgotten, chunks, atRisk }: ForgetReply, pieces: readonly Piece[]): void {
  const name = `chunkserver ${server} (${address})`;
  for (const { path, from, length } of pieces)
    print(`${path}: ${showRange(from, length)} cannot be read${forgotten ? '' : ' without it'}`);
  const inFiles = new Set(pieces.map(({ handle }) => handle)).size;
  const others = atRisk.handles.length - inFiles;
  if (others > 0) print(`in the trash: ${howMany(others, 'chunk')} cannot be read${forgotten ? '' : ' without it'}`);
  if (atRisk.total > atRisk.handles.length)
    print(`and of ${atRisk.total - atRisk.handles.length} chunks more; gfs fsck names them all`);
  const paths = new Set(pieces.map(({ path }) => path)).size;
  const risk = `${howMany(atRisk.total, 'chunk')} (${showBytes(atRisk.bytes)}) of ${howMany(paths, 'file')}`;
  if (!forgotten) {
    print(`${name} is not forgotten: it may hold the only good copy of ${risk}`);
    print('start it, or other servers that are down; --accept-loss forgets it all the same');
    return;
  }
  print(`${name} is forgotten, with ${howMany(chunks, 'replica')} on it`);
  if (atRisk.total > 0)
    print(`${risk} cannot be read unless a server that has them comes back; gfs recover FILE decides open ends`);
}

function jsonResult({ atRisk, ...rest }: ForgetReply, pieces: readonly Piece[]): Record<string, unknown> {
  return {
    ...rest,
    atRisk: { total: atRisk.total, bytes: atRisk.bytes, handles: atRisk.handles.map(handleName) },
    unreadable: pieces.map(({ path, handle, from, length }) => ({
      path,
      handle: handleName(handle as never),
      from,
      length,
    })),
  };
}
