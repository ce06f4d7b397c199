// Checks of appends: how often, where and in which order the records of a file stand when all is quiet, against what their writers were told.
import type { ErrorCode } from '../../../src/protocol/errors.js';
import type { Checker, HistoryEvent, Operation } from '../history.js';
import { parseRecords, type StandingRecord, showRecord } from '../records.js';

/** After these the writer knows that nothing was appended; after all others the append may stand. */
const DEFINITE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'TOO_LARGE',
  'OFFSET_MISMATCH',
  'NO_SPACE',
  'TOO_FEW_SERVERS',
  'SAFE_MODE',
  'IS_DIRECTORY',
  'NOT_FOUND',
  'BAD_HANDLE',
]);

type Fate = { is: 'acknowledged'; offset: number } | { is: 'refused'; code: ErrorCode } | { is: 'in doubt' };

interface Told {
  file: number;
  lengthBytes: number;
  fate: Fate;
}

export class OnceAndInOrder implements Checker {
  readonly promise =
    'Every acknowledged append stands exactly once at its offset, in the order of its writer; a refused one does not stand.';
  private readonly records = new Map<string, Told>();
  private readonly recordFiles = new Set<number>();

  on(event: HistoryEvent): string | undefined {
    if (event.kind === 'file' && event.style.kind === 'records') this.recordFiles.add(event.file);
    if (event.kind === 'began') this.remember(event.operation, { is: 'in doubt' });
    if (event.kind === 'failed' && DEFINITE.has(event.code))
      this.remember(event.operation, { is: 'refused', code: event.code });
    if (event.kind !== 'ended') return undefined;
    const { asked } = event.operation;
    if (event.outcome.kind === 'append' && asked.kind === 'append') {
      const { offset } = event.outcome;
      this.remember(event.operation, { is: 'acknowledged', offset });
      if (asked.record && asked.expectedOffset !== undefined && asked.expectedOffset !== offset)
        return `${showRecord(asked.record)} was to stand at ${asked.expectedOffset} or nowhere and was acknowledged at ${offset}.`;
    }
    if (asked.kind === 'read' && asked.final && event.outcome.kind === 'read' && this.recordFiles.has(asked.file))
      return this.judge(asked.file, event.outcome.bytes);
    return undefined;
  }

  private remember({ asked }: Operation, fate: Fate): void {
    if (asked.kind !== 'append' || !asked.record) return;
    this.records.set(showRecord(asked.record), { file: asked.file, lengthBytes: asked.bytes.length, fate });
  }

  private judge(file: number, content: Buffer): string | undefined {
    const { records, problem } = parseRecords(content);
    if (problem) return `Inode ${file} (${content.length} bytes): ${problem}.`;
    const standing = new Map<string, StandingRecord>();
    const latest = new Map<number, number>();
    for (const record of records) {
      const name = showRecord(record);
      const told = this.records.get(name);
      if (!told || told.file !== file)
        return `Inode ${file}: nobody appended ${name}, which stands at ${record.offset}.`;
      const earlier = standing.get(name);
      if (earlier)
        return `Inode ${file}: ${name} (${told.fate.is}) stands at ${earlier.offset} and at ${record.offset}.`;
      if (told.fate.is === 'refused')
        return `Inode ${file}: ${name} was refused with ${told.fate.code} and stands at ${record.offset}.`;
      if (told.fate.is === 'acknowledged' && told.fate.offset !== record.offset)
        return `Inode ${file}: ${name} was acknowledged at ${told.fate.offset} and stands at ${record.offset}.`;
      if (record.sequence < (latest.get(record.writer) ?? 0))
        return `Inode ${file}: ${name} stands behind w${record.writer}/${latest.get(record.writer)}.`;
      latest.set(record.writer, record.sequence);
      standing.set(name, record);
    }
    for (const [name, told] of this.records) {
      if (told.file === file && told.fate.is === 'acknowledged' && !standing.has(name))
        return `Inode ${file}: ${name} was acknowledged at ${told.fate.offset} and is missing (${content.length} bytes).`;
    }
    return undefined;
  }
}

/** Files that one client appends to and cuts, one thing at a time, hold what that client's own list says, until something is in doubt. */
export class CutsAreExact implements Checker {
  readonly promise = 'After a cut a file holds exactly the records that were acknowledged and not cut off.';
  private readonly files = new Map<number, { standing: StandingRecord[]; doubtful: boolean }>();

  on(event: HistoryEvent): string | undefined {
    if (event.kind === 'file' && event.style.kind === 'cut')
      this.files.set(event.file, { standing: [], doubtful: false });
    if (event.kind !== 'ended' && event.kind !== 'failed' && event.kind !== 'abandoned') return undefined;
    const { asked } = event.operation;
    const file = 'file' in asked ? this.files.get(asked.file) : undefined;
    if (!file) return undefined;
    if (event.kind !== 'ended') {
      if (asked.kind === 'append' || asked.kind === 'truncate') file.doubtful = true;
      return undefined;
    }
    if (asked.kind === 'append' && event.outcome.kind === 'append' && asked.record)
      file.standing.push({ ...asked.record, offset: event.outcome.offset, lengthBytes: asked.bytes.length });
    if (asked.kind === 'truncate')
      file.standing = file.standing.filter(record => record.offset + record.lengthBytes <= asked.sizeBytes);
    if (asked.kind !== 'read' || !asked.final || event.outcome.kind !== 'read') return undefined;
    return this.judge(asked.file, file, event.outcome.bytes);
  }

  private judge(
    inode: number,
    file: { standing: StandingRecord[]; doubtful: boolean },
    content: Buffer,
  ): string | undefined {
    if (file.doubtful) return undefined;
    const { records, problem } = parseRecords(content);
    if (problem) return `Inode ${inode} (${content.length} bytes): ${problem}.`;
    const show = (list: readonly StandingRecord[]): string =>
      list.map(record => `${showRecord(record)} at ${record.offset}`).join(', ');
    if (show(records) === show(file.standing)) return undefined;
    return `Inode ${inode} holds ${show(records)} and should hold ${show(file.standing)}.`;
  }
}
