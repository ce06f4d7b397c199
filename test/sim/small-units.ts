// Makes the units of checksums and of copying small in this process, so that chunks of a few KiB have many blocks and are copied in many pieces. To be
// imported before anything else: the code of the product takes these numbers when it is loaded. It changes nothing else.
import { BOUNDS } from '../../src/chunkserver/settings.js';
import { LIMITS } from '../../src/protocol/limits.js';

Object.assign(LIMITS, { blockBytes: 4 * 1024 });
Object.assign(BOUNDS, { pieceBytes: 8 * 1024 });
