// Starts `nakodo.cjs`, which lies beside it, with V8's code cache: what was compiled in an earlier
// run need not be compiled again, which is a third of an agent's start and 3 MB of its memory. The
// cache lies where systemd says (`CacheDirectory=`), so only a service has one; it is written once
// for each version of program and Node. V8 itself compares neither what it is given nor the source
// (it aborts on a cache that is torn), hence the digest over all of it. Without a good cache the
// program starts as it would by itself.

import { createHash } from 'node:crypto';
import { readFileSync, realpathSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Script } from 'node:vm';

const DIGEST = 'blake2b512';
const DIGEST_BYTES = 64;
/** After which an agent has compiled what it needs while it waits. */
const WRITE_AFTER_MS = 5_000;

const program = join(dirname(realpathSync(process.argv[1])), 'nakodo.cjs');
process.argv[1] = program;
run(program);

function run(path: string): void {
  // The bundle is ASCII: a byte for each character, in the file and in memory.
  const source = readFileSync(path, 'latin1');
  const cache = process.env.CACHE_DIRECTORY?.split(':')[0];
  const file = cache === undefined ? undefined : join(cache, 'nakodo.code');
  const code = file === undefined ? undefined : codeIn(file, source);
  const text = source.startsWith('#!') ? `//${source}` : source;
  const body = `(function(exports,require,module,__filename,__dirname){${text}\n})`;
  const script = new Script(body, { filename: path, cachedData: code });
  if (file !== undefined && (code === undefined || script.cachedDataRejected === true)) {
    setTimeout(() => keep(file, source, script.createCachedData()), WRITE_AFTER_MS).unref();
  }
  const module = { exports: {} };
  const main = script.runInThisContext() as (...args: readonly unknown[]) => void;
  main(module.exports, createRequire(path), module, path, dirname(path));
}

/** The cache of exactly this source and Node; undefined if there is none, or a torn one. */
function codeIn(file: string, source: string): Buffer | undefined {
  try {
    const bytes = readFileSync(file);
    const code = bytes.subarray(DIGEST_BYTES);
    return digest(source, code).equals(bytes.subarray(0, DIGEST_BYTES)) ? code : undefined;
  } catch {
    return undefined;
  }
}

/** Whole or not at all; a disk that is full or read-only is no reason to fail. */
function keep(file: string, source: string, code: Buffer): void {
  try {
    writeFileSync(`${file}.new`, Buffer.concat([digest(source, code), code]), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  } catch {
    // It is tried again at the next start.
  }
}

function digest(source: string, code: Buffer): Buffer {
  const made = `${process.version} ${process.arch} ${process.execArgv.join(' ')}\n`;
  return createHash(DIGEST).update(made).update(source, 'latin1').update(code).digest();
}
