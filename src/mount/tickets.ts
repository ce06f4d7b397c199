// Numbers questions and changes, so that an answer that was on its way while what it tells of changed is not kept. A change voids all answers that are on
// their way; what is only forgotten (nobody will tell of its changes) voids those about itself. It keeps no answers.

/** What had happened when a question was asked. */
export type Ticket = number;

/** Forgotten subjects remembered one by one; older ones void every answer that was asked for before them. */
const FORGOTTEN_MAX = 32_768;

export class Tickets {
  private happened = 0;
  /** Answers asked for before this are void. */
  private voidBefore = 0;
  private readonly forgotten = new Map<string, number>();

  /** To be taken before a question. */
  take(): Ticket {
    return this.happened;
  }

  /** Something changed, or may have. */
  noteChange(): void {
    this.voidBefore = ++this.happened;
    this.forgotten.clear();
  }

  /** Nobody will tell of changes of the subject any more. */
  noteForgotten(subject: string): void {
    this.forgotten.delete(subject);
    this.forgotten.set(subject, ++this.happened);
    if (this.forgotten.size <= FORGOTTEN_MAX) return;
    const [oldest, at] = this.forgotten.entries().next().value!;
    this.forgotten.delete(oldest);
    this.voidBefore = at;
  }

  /** Whether what was asked for with this ticket still holds for the subject. */
  isGood(ticket: Ticket, subject: string): boolean {
    return ticket >= this.voidBefore && ticket >= (this.forgotten.get(subject) ?? 0);
  }
}
