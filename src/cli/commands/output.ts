// What commands print: lines for people, or one JSON value for programs.

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? String(inner) : inner))}\n`);
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
