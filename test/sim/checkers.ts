// All promises that a scenario is judged by, in one list. The checkers know nothing of the workloads but what the history says.
import { BytesNeverDiffer, SizeNeverShrinks, StreamsAreWhole } from './checkers/bytes.js';
import { type CopyLimits, CopyLimitsHold, CopyRateHolds, ServerRateHolds } from './checkers/copies.js';
import { LeasesEnd } from './checkers/leases.js';
import { LocksExclude } from './checkers/locks.js';
import { OneCreator } from './checkers/names.js';
import { CutsAreExact, OnceAndInOrder } from './checkers/once.js';
import { type OpenFilesOptions, OpenFilesStay } from './checkers/open-files.js';
import { DeadlinesHold, OnePrimary, WorkGoesOn } from './checkers/servers.js';
import type { Checker } from './history.js';

export interface CheckerOptions {
  recoveryMs: number;
  copyLimits: CopyLimits;
  openFiles: OpenFilesOptions;
}

export function allCheckers({ recoveryMs, copyLimits, openFiles }: CheckerOptions): Checker[] {
  return [
    new BytesNeverDiffer(),
    new SizeNeverShrinks(),
    new StreamsAreWhole(),
    new OnceAndInOrder(),
    new CutsAreExact(),
    new OnePrimary(),
    new LeasesEnd(),
    new DeadlinesHold(),
    new WorkGoesOn(recoveryMs),
    new CopyLimitsHold(copyLimits),
    new CopyRateHolds(copyLimits),
    new ServerRateHolds(copyLimits),
    new OpenFilesStay(openFiles),
    new OneCreator(),
    new LocksExclude(),
  ];
}
