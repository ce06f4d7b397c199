// gfs recover: the end of a file that only an operator can decide (DESIGN 4, rule 8).
import type { Command } from 'commander';
import { handleName } from '../../protocol/ids.js';
import type { Reply } from '../../protocol/messages.js';
import { about, askMaster, optionsOf, placeOf, print, printJson, type SessionOptions } from './session.js';

type Tail = NonNullable<Reply<'recoverFile'>['tail']>;

/** Sealing asks every server of the chain and waits for those that are slow. */
const RECOVER_MS_MAX = 60_000;

export function addRecoverCommand(program: Command): void {
  program
    .command('recover')
    .description('show why the end of a file cannot be decided, and decide it with what is left')
    .argument('<FILE>', 'a path in the file system')
    .option(
      '--accept-suspect',
      'seal the file with the longest copy that answers, although bytes may be missing from it',
    )
    .addHelpText(
      'after',
      `
After a loss of power a server may come back with less than it had acknowledged. While the other servers of the file's last chunk are away,
the end of the file is not decided: it could lose bytes that they still hold. Start them if they can be started. If they are lost for good,
--accept-suspect decides with what is left. Bytes that fsync confirmed are on every copy and are never at stake.

Example:
  gfs recover /logs/today
  gfs recover /logs/today --accept-suspect`,
    )
    .action((path, _, command) => recover(path, optionsOf(command)));
}

async function recover(path: string, options: SessionOptions & { acceptSuspect?: boolean }): Promise<void> {
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
    yield 'none of them answers, so there is nothing to decide with: start one of them';
    return;
  }
  const found = Math.max(0, ...members.map(({ lengthBytes }) => lengthBytes));
  yield `with --accept-suspect the file ends at byte ${base + acceptBytes}; bytes behind that, which only servers that do not answer may hold, are lost`;
  if (found < acceptBytes)
    yield `bytes ${base + found} to ${base + acceptBytes - 1} are known to have been written and are on no server that answers: they stay unreadable`;
  yield 'bytes that fsync confirmed are on every copy and are not among those lost';
}
