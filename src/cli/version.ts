// The version of the package, as its package.json says.
import { readFileSync } from 'node:fs';

export const VERSION = readVersion();

function readVersion(): string {
  // From dist/src/cli/ up to the package.
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
