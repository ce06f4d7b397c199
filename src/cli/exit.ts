// How programs end: 0 done, 1 failed, 2 wrong usage; one line on standard error that names what is wrong, never a stack trace
// (unless GFS_DEBUG is set). It owns the exit codes and nothing else ends a program.
import { type Command, CommanderError } from 'commander';
import { asGfsError, GfsError } from '../protocol/errors.js';

export const EXIT = { done: 0, failed: 1, usage: 2 } as const;

/** A wrong command line: the message names the option and its value. */
export function usageError(message: string): GfsError {
  return new GfsError('USAGE', message);
}

/** Parses the arguments, runs the action and sets the exit code. */
export async function runProgram(program: Command, argv: readonly string[] = process.argv): Promise<void> {
  quiet(program);
  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    process.exitCode = failWith(program.name(), error);
  }
}

/** Prints the failure as one line and returns its exit code. */
export function failWith(programName: string, error: unknown): number {
  const { message, exitCode } = failureOf(error);
  if (exitCode === EXIT.done) return exitCode;
  process.stderr.write(`${programName}: ${message}\n`);
  if (process.env.GFS_DEBUG) process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  return exitCode;
}

export function failureOf(error: unknown): { message: string; exitCode: number } {
  if (error instanceof CommanderError) {
    if (error.code === 'commander.help')
      return { message: 'a command is missing; --help lists them', exitCode: EXIT.usage };
    // Asking for help or the version is no failure.
    const exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
    return { message: oneLine(error.message.replace(/^error: /, '')), exitCode };
  }
  const failure = asGfsError(error);
  return { message: oneLine(failure.message), exitCode: failure.code === 'USAGE' ? EXIT.usage : EXIT.failed };
}

export function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim();
}

/** Commander throws instead of printing and exiting, in all subcommands. */
function quiet(command: Command): void {
  command.exitOverride();
  command.configureOutput({ writeErr: () => undefined });
  command.showSuggestionAfterError(false);
  for (const child of command.commands) quiet(child);
}
