// gfs drain, undrain and safemode: what an operator does with servers before and after work on them.
import { Argument, type Command } from 'commander';
import { GfsError } from '../../protocol/errors.js';
import type { Reply } from '../../protocol/messages.js';
import type { AskMaster } from '../connect.js';
import { askMaster, asOperator, optionsOf, print, printJson, type SessionOptions } from './session.js';
import { howMany, showBytes } from './table.js';

type DrainState = Reply<'drainStatus'>;

/** Between two looks at how far it is; between two lines about it where there is no terminal. */
const LOOK_MS = 500;
const LINE_MS = 5_000;

export function addServerCommands(program: Command): void {
  program
    .command('drain')
    .description('move everything off a chunkserver and say when it is safe to stop it')
    .argument('<SERVER>', 'its id, the beginning of its id, or its address, as gfs report shows them')
    .option('--no-wait', 'only begin; the same command later says how far it is')
    .addHelpText(
      'after',
      `
The server goes on serving what it has, gets nothing new, and its chunks are copied to other servers. The command ends with 0 once
every chunk has its copies elsewhere. Interrupting the command does not end the draining; gfs undrain does.

Example:
  gfs drain 10.0.0.7:9410 && ssh 10.0.0.7 systemctl stop gfs-chunkserver`,
    )
    .action((server, _, command) => drain(server, optionsOf(command)));
  program
    .command('undrain')
    .description('call the draining of a chunkserver off: it gets new chunks again')
    .argument('<SERVER>', 'its id, the beginning of its id, or its address')
    .action((server, _, command) => undrain(server, optionsOf(command)));
  program
    .command('safemode')
    .description('show, enter or leave safe mode, in which nothing is appended, healed or deleted, and reading goes on')
    .addArgument(new Argument('<ACTION>', 'what to do').choices(['get', 'enter', 'leave']))
    .action((action, _, command) => safemode(action, optionsOf(command)));
}

async function drain(server: string, options: SessionOptions & { wait?: boolean }): Promise<void> {
  const state = await asOperator(options, async ask => {
    const begun = await ask('setDraining', { server, draining: true });
    return options.wait === false ? begun : await untilSafe(ask, begun, options);
  });
  if (options.json) return printJson(state);
  if (state.safe) print(`${nameOf(state)} can be stopped: every chunk that it holds has its copies on other servers`);
  else {
    print(`${nameOf(state)} is being drained: ${showLeft(state)}; it is not safe to stop it yet`);
    if (state.obstacle) print(state.obstacle);
  }
}

async function untilSafe(ask: AskMaster, first: DrainState, options: SessionOptions): Promise<DrainState> {
  let state = first;
  const progress = new DrainProgress(options.json === true);
  try {
    while (!state.safe) {
      progress.show(state);
      await new Promise(resolve => setTimeout(resolve, LOOK_MS));
      state = await ask('drainStatus', { server: first.server });
      if (!state.draining)
        throw new GfsError('INTERRUPTED', `${nameOf(state)}: its draining was called off; do not stop it for good`);
    }
    return state;
  } finally {
    progress.end();
  }
}

async function undrain(server: string, options: SessionOptions): Promise<void> {
  const state = await askMaster(options, 'setDraining', { server, draining: false });
  if (options.json) return printJson(state);
  print(`${nameOf(state)} is ${state.state}, and not to be drained`);
}

async function safemode(action: 'get' | 'enter' | 'leave', options: SessionOptions): Promise<void> {
  const { on, ...rest } = await askMaster(options, 'safemode', { action });
  const { reason, byOperator } = rest;
  if (options.json) return printJson({ safemode: on, ...rest });
  print(on ? `safe mode is on: ${reason}` : 'safe mode is off');
  if (on && byOperator) print('it ends with gfs safemode leave, or with a restart of the master');
}

function nameOf({ server, address }: DrainState): string {
  return `chunkserver ${server} (${address})`;
}

function showLeft({ waiting, waitingBytes, open }: DrainState): string {
  const openPart = open > 0 ? `, ${open} still written to` : '';
  return `${howMany(waiting, 'chunk')} (${showBytes(waitingBytes)}) with too few copies elsewhere${openPart}`;
}

/** One line that is drawn again on a terminal; elsewhere a line now and then, when something changed. */
class DrainProgress {
  private last = '';
  private lastMs = Number.NEGATIVE_INFINITY;
  private readonly isTerminal = process.stderr.isTTY === true;

  constructor(private readonly isQuiet: boolean) {}

  show(state: DrainState): void {
    const line = state.obstacle ? `${showLeft(state)}; ${state.obstacle}` : showLeft(state);
    if (this.isQuiet || line === this.last) return;
    if (this.isTerminal) process.stderr.write(`\r\x1b[K${line}`);
    else {
      if (Date.now() - this.lastMs < LINE_MS) return;
      process.stderr.write(`${line}\n`);
    }
    this.last = line;
    this.lastMs = Date.now();
  }

  end(): void {
    if (this.isTerminal && this.last !== '') process.stderr.write('\r\x1b[K');
  }
}
