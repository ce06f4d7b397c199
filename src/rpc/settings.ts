// What can be set about the connections that a server accepts, the same for every role that has one (rows of its own table of settings). How large a
// message may be is the role's: masters take no bytes of files.
import { countSetting, duration } from '../lib/settings.js';

export const CONNECTION_SETTINGS = {
  connectionsMax: countSetting(4_096, 'connections at a time; one more is closed at once', { min: 8, max: 1_000_000 }),
  idleTimeout: duration(600_000, 'a connection that was silent this long is closed', { min: 1_000 }),
  frameTimeout: duration(30_000, 'a message that is not there as a whole after this time ends its connection', {
    min: 100,
    max: 600_000,
  }),
};
