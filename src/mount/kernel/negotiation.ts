// The first exchange with the kernel: which version, which sizes, which of its offers are taken. A pure function of what it says.
import { INIT_FLAG, type INIT_IN, type INIT_OUT, PROTOCOL_MAJOR, PROTOCOL_MINOR, PROTOCOL_MINOR_MIN } from './wire.js';

export const PAGE_BYTES = 4096;
/** The largest payload of a WRITE. */
export const MAX_WRITE_BYTES = 1024 * 1024;
const MAX_PAGES = MAX_WRITE_BYTES / PAGE_BYTES;
/** Read-ahead and other requests nobody waits for that may be on their way at once; above the threshold the kernel holds back. */
const MAX_BACKGROUND = 64;
const CONGESTION_THRESHOLD = 48;

type Offer = ReturnType<typeof INIT_IN.decode>;
type Terms = Partial<ReturnType<typeof INIT_OUT.decode>>;

export type Negotiation =
  /** Answer with these terms; `isFinal` unless the kernel will ask again with our major version. */
  { kind: 'agreed'; terms: Terms; isFinal: boolean } | { kind: 'refused'; reason: string };

export function negotiate(offer: Offer, options: { hasLocks: boolean }): Negotiation {
  if (offer.major > PROTOCOL_MAJOR) {
    return { kind: 'agreed', terms: { major: PROTOCOL_MAJOR, minor: PROTOCOL_MINOR }, isFinal: false };
  }
  if (offer.major < PROTOCOL_MAJOR || offer.minor < PROTOCOL_MINOR_MIN) {
    const wanted = `${PROTOCOL_MAJOR}.${PROTOCOL_MINOR_MIN} (Linux 5.4)`;
    const reason = `the kernel speaks FUSE protocol ${offer.major}.${offer.minor}, this transport needs ${wanted}; use --fuse native`;
    return { kind: 'refused', reason };
  }

  let wanted =
    INIT_FLAG.ASYNC_READ |
    INIT_FLAG.ATOMIC_O_TRUNC |
    INIT_FLAG.BIG_WRITES |
    // Bytes once cut off and written anew by another mount must not be shown from old pages.
    INIT_FLAG.AUTO_INVAL_DATA |
    INIT_FLAG.DO_READDIRPLUS |
    INIT_FLAG.READDIRPLUS_AUTO |
    INIT_FLAG.PARALLEL_DIROPS |
    INIT_FLAG.MAX_PAGES |
    // A symbolic link's target never changes.
    INIT_FLAG.CACHE_SYMLINKS;
  if (options.hasLocks) wanted |= INIT_FLAG.POSIX_LOCKS | INIT_FLAG.FLOCK_LOCKS;

  const terms: Terms = {
    major: PROTOCOL_MAJOR,
    minor: Math.min(offer.minor, PROTOCOL_MINOR),
    maxReadahead: offer.maxReadahead,
    flags: (offer.flags & wanted) >>> 0,
    maxBackground: MAX_BACKGROUND,
    congestionThreshold: CONGESTION_THRESHOLD,
    maxWrite: MAX_WRITE_BYTES,
    timeGran: 1,
    maxPages: MAX_PAGES,
  };
  return { kind: 'agreed', terms, isFinal: true };
}
