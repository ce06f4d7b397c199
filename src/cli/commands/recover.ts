// gfs recover: what only an operator can decide: the end of a file (DESIGN 4, rule 8), and going on with an old copy of the metadata.
import type { Command } from 'commander';
import { handleName } from '../../protocol/ids.js';
import type { Reply } from '../../protocol/messages.js';
import { usageError } from '../exit.js';
import { about, askMaster, optionsOf, placeOf, print, printJson, type SessionOptions } from './session.js';
import { howMany, showBytes } from './table.js';

type Tail = NonNullable<Reply<'recoverFile'>['tail']>;

/** Sealing asks every server of the chain and waits for those that are slow. */
const RECOVER_MS_MAX = 60_000;

export function addRecoverCommand(program: Command): void {
  program
    .command('recover')
    .description('show and decide what only an operator can: the end of a file, or going on with old metadata')
    .argument('[FILE]', 'a path in the file system; without it the metadata is meant')
    .option(
      '--accept-suspect',
      'seal the file with the longest copy that answers, although bytes may be missing from it',
    )
    .option(
      '--accept-old-metadata',
      'without FILE: go on with the copy of the metadata that the master was started on, although servers hold newer chunks',
    )
    .addHelpText(
      'after',
      `
After a loss of power a server may come back with less than it had acknowledged. While the other servers of the file's last chunk are away,
the end of the file is not decided: it could lose bytes that they still hold. Start them if they can be started. If they are lost for good,
--accept-suspect decides with what is left. Bytes that fsync confirmed are on every copy and are never at stake.

A master on an old copy of its metadata appends, heals and deletes nothing: start it on the newest copy. If there is none, first start all chunkservers that
can be started, then --accept-old-metadata goes on with the old one. Names are as they were then. Chunks written since become files in /lost+found, for root;
files deleted since are there again, and where their chunks are gone gfs fsck names the bytes. Nothing is deleted for it.

Examples:
  gfs recover /logs/today
  gfs recover /logs/today --accept-suspect
  gfs recover
  gfs recover --accept-old-metadata`,
    )
    .action((path, _, command) => {
      const options = optionsOf<RecoverOptions>(command);
      if (path === undefined) return recoverMetadata(options);
      if (options.acceptOldMetadata) throw usageError('--accept-old-metadata is about all files: give no FILE with it');
      return recover(path, options);
    });
}

interface RecoverOptions extends SessionOptions {
  acceptSuspect?: boolean;
  acceptOldMetadata?: boolean;
}

async function recoverMetadata(options: RecoverOptions): Promise<void> {
  if (options.acceptSuspect) throw usageError('--accept-suspect is about the end of a file: give FILE with it');
  const accept = options.acceptOldMetadata === true;
  const reply = await askMaster(options, 'recoverMetadata', { accept }, RECOVER_MS_MAX);
  if (options.json) return printJson(reply);
  const { accepted, adopted, oldMetadata, reason, unknownChunks, unknownBytes, newerChunks, serversDown } = reply;
  const unknown = `${howMany(unknownChunks, 'chunk')} (${showBytes(unknownBytes)}) that this metadata does not know`;
  if (accepted) {
    print(
      `the master goes on with this metadata; ${howMany(adopted, 'file')} in /lost+found made of what it did not know`,
    );
    print('gfs fsck names files whose bytes are gone; look at /lost+found, and delete what is not needed');
    return;
  }
  if (!oldMetadata && unknownChunks === 0)
    return print('the metadata explains all that the servers hold: nothing to decide');
  if (oldMetadata) print(`old metadata: ${reason}`);
  print(`the servers hold ${unknown}, and newer versions of ${howMany(newerChunks, 'chunk')} that it knows`);
  if (serversDown > 0) print(`${howMany(serversDown, 'server')} have not said what they hold: start them first`);
  if (oldMetadata) print('start the master on the newest copy of its metadata; only if there is none:');
  print(
    'with --accept-old-metadata the master goes on with this one, and makes files in /lost+found of what it does not know',
  );
}

async function recover(path: string, options: RecoverOptions): Promise<void> {
  const request = { where: placeOf(path), accept: options.acceptSuspect === true };
  const { attributes, tail, sealed } = await about(path, () =>
    askMaster(options, 'recoverFile', request, RECOVER_MS_MAX),
  );
  if (options.json)
    return printJson({
      path,
      size: attributes.sizeBytes,
      stuck: tail?.stuck === true && !sealed,
      sealed,
      ...(tail ? { tail: { ...tail, handle: handleName(tail.handle) } } : {}),
    });
  if (sealed) return print(`${path}: sealed at ${attributes.sizeBytes} bytes`);
  if (!tail) return print(`${path}: ${attributes.sizeBytes} bytes, nothing to decide`);
  for (const line of explain(path, tail)) print(line);
}

function* explain(path: string, tail: Tail): Generator<string> {
  const { base, recordedBytes, acceptBytes, members, stuck } = tail;
  yield `${path}: its last chunk ${handleName(tail.handle)} begins at byte ${base}; the master knows of ${recordedBytes} bytes in it`;
  for (const { server, address, state, lengthBytes } of members)
    yield `  ${address || server}: ${state === 'unreachable' ? 'does not answer' : state === 'none' ? 'has no copy' : `${lengthBytes} bytes${state === 'suspect' ? ', suspect: it may have lost some with its power' : ''}`}`;
  if (!stuck) {
    yield 'nothing has to be accepted: the file goes on by itself';
    return;
  }
  if (acceptBytes === undefined) {
    yield 'none of them answers, so there is nothing to decide with: start one of them; if all are gone for good, gfs forget them first';
    return;
  }
  const found = Math.max(0, ...members.map(({ lengthBytes }) => lengthBytes));
  yield `with --accept-suspect the file ends at byte ${base + acceptBytes}; bytes behind that, which only servers that do not answer may hold, are lost`;
  if (found < acceptBytes)
    yield `bytes ${base + found} to ${base + acceptBytes - 1} are known to have been written and are on no server that answers: they stay unreadable`;
  yield 'bytes that fsync confirmed are on every copy and are not among those lost';
}
