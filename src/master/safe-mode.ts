// Whether the master may append, heal and delete yet: after a start not before its chunkservers have said what they hold (DESIGN 5). It
// only counts and judges; reads and names never ask it. Once left it is entered again only when the metadata proves to be wrong.
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { GfsError } from '../protocol/errors.js';
import { Bell } from './bell.js';

export interface SafeModeFacts {
  /** Chunks with bytes that the store knows. */
  chunks: number;
  /** Of those, chunks with at least one replica reported. */
  located: number;
  serversUp: number;
  /** Servers that the store knows, except those an operator had forgotten, and how many of them have reported completely. */
  serversKnown: number;
  serversReported: number;
}

export interface SafeModeRules {
  minReplicas: number;
  /** Of 1000 chunks, how many must be located. */
  sharePerMille: number;
  /** With enough servers up it ends after this long, whatever is missing. */
  maxMs: number;
}

/** Why the master stays in safe mode, '' when it need not. A pure function of the facts. */
export function reasonToStay(facts: SafeModeFacts, rules: SafeModeRules, ageMs: number): string {
  if (facts.serversUp < rules.minReplicas)
    return `${facts.serversUp} chunkservers are up, ${rules.minReplicas} are needed`;
  if (ageMs >= rules.maxMs) return '';
  if (facts.serversReported >= facts.serversKnown) return '';
  if (facts.located * 1000 < facts.chunks * rules.sharePerMille)
    return `${facts.located} of ${facts.chunks} chunks have been reported`;
  return '';
}

export class SafeMode {
  private reasonNow = 'the master has just started';
  private readonly startedMs: number;
  private readonly bell: Bell;
  private wasLeft = false;
  /** Set when the metadata is wrong: only a restart with the right one helps. */
  private isStuck = false;
  /** An operator entered it: only an operator leaves it. */
  private isHeld = false;

  constructor(
    private readonly clock: Clock,
    private readonly rules: SafeModeRules,
    private readonly facts: () => SafeModeFacts,
    private readonly logger: Logger,
  ) {
    this.startedMs = clock.monotonicMs();
    this.bell = new Bell(clock);
  }

  get isOn(): boolean {
    return this.reasonNow !== '';
  }

  /** Safe mode is on for good, because the metadata proved to be wrong. */
  get isDistrusting(): boolean {
    return this.isStuck;
  }

  /** Since the start it was over once, as nothing that servers hold spoke against this metadata, and nothing has since. */
  get hasTrusted(): boolean {
    return this.wasLeft && !this.isStuck;
  }

  /** An operator entered it. */
  get isByOperator(): boolean {
    return this.isHeld;
  }

  /** For people; '' when safe mode is off. */
  get reason(): string {
    return this.reasonNow;
  }

  /** Looks at the facts again. Returns true when safe mode ended just now. */
  judge(): boolean {
    if (!this.isOn || this.isStuck || this.isHeld) return false;
    this.reasonNow = reasonToStay(this.facts(), this.rules, this.clock.monotonicMs() - this.startedMs);
    if (this.isOn) return false;
    this.wasLeft = true;
    this.logger.info({ ms: Math.round(this.clock.monotonicMs() - this.startedMs) }, 'safe mode ended');
    this.bell.ring();
    return true;
  }

  /** An operator wants appends, healing and deletion to rest until `leave`, or the next start. */
  enter(): void {
    if (this.isStuck || this.isHeld) return;
    this.isHeld = true;
    this.reasonNow = 'an operator entered it';
    this.logger.warn({ reason: this.reasonNow }, 'safe mode was entered by an operator');
  }

  /** An operator wants work to begin, whatever is missing. Throws SAFE_MODE when the metadata is wrong: nobody may work with it. */
  leave(): void {
    if (this.isStuck)
      throw new GfsError(
        'SAFE_MODE',
        `safe mode stays: ${this.reasonNow}; start the master on the newest copy of its metadata, or see gfs recover --help`,
      );
    if (!this.isOn) return;
    this.logger.warn({ reason: this.reasonNow }, 'safe mode was ended by an operator');
    this.isHeld = false;
    this.reasonNow = '';
    this.wasLeft = true;
    this.bell.ring();
  }

  /** Promise 8: what servers hold shows that this metadata is older than, or foreign to, the cluster. Nothing is changed or deleted any more. */
  distrustMetadata(reason: string): void {
    if (this.isStuck) return;
    this.isStuck = true;
    this.isHeld = false;
    this.reasonNow = reason;
    this.logger.error({ reason }, 'safe mode for good: start the master on the newest copy of its metadata');
  }

  /** An operator goes on with this metadata although it is old: safe mode is as after a start. */
  trustMetadata(): void {
    if (!this.isStuck) return;
    this.isStuck = false;
    this.reasonNow = 'an operator accepted old metadata';
    this.bell.ring();
    this.judge();
  }

  logAccepted(): void {
    this.logger.warn(
      { reason: this.reasonNow },
      'an operator goes on with old metadata: what was changed since is lost',
    );
  }

  /** Settles once safe mode is off. Throws SAFE_MODE when it is still on at `deadlineMs` (monotonic). */
  async pass(deadlineMs: number): Promise<void> {
    if (await this.bell.until(() => !this.isOn || this.isStuck, deadlineMs)) {
      if (!this.isOn) return;
    }
    throw new GfsError('SAFE_MODE', `the master is in safe mode: ${this.reasonNow}`);
  }
}
