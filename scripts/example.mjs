// The library in a few lines: write a file, append to it from two clients at once, read it back.
// Run: node scripts/example.mjs [HOST:PORT of the master]
import { connect } from 'gfs';

const master = process.argv[2] ?? process.env.GFS_MASTER ?? '127.0.0.1:9400';
const one = await connect({ master });
const two = await connect({ master });
await one.writeFile('/notes', 'first\n');
// Each record stands once and whole, and each client learns where.
const offsets = await Promise.all([one.recordAppend('/notes', 'from one\n'), two.recordAppend('/notes', 'from two\n')]);
console.log(offsets);
console.log(await one.readFile('/notes', 'utf8'));
await one.close();
await two.close();
