// The public export of the package. Nothing else in it is meant for other programs.
export { type ErrorCode, GfsError } from '../protocol/errors.js';
export { type ConnectOptions, connect } from './connect.js';
export { type ChunkInfo, type DirectoryEntry, Gfs, type OpenFlags, type Time } from './gfs.js';
export { type Data, GfsFile } from './gfs-file.js';
export type { ClientSettings } from './settings.js';
export { GfsStats } from './stats.js';
