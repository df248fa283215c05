// A power cut at any write of a piece of shell code: from the chosen change of a file on, every
// change fails, those of error handlers too, as if the process were gone. For tests that run the
// code again afterwards and look at what is left.

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

/** The changes of node:fs/promises; each counts as one. */
const CHANGES = ['writeFile', 'rename', 'link', 'rm', 'unlink', 'mkdir', 'open'] as const;

/** What a change fails with after the cut. */
class PowerCut extends Error {}

/**
 * Runs `action` with the power cut at its change number `at` (from 0). Returns whether it came to
 * that; anything else that `action` throws is thrown.
 */
export async function cutAt(at: number, action: () => Promise<unknown>): Promise<boolean> {
  const real = Object.fromEntries(CHANGES.map((name) => [name, fs.promises[name]]));
  const patched = fs.promises as unknown as Record<string, (...args: unknown[]) => unknown>;
  let done = 0;
  const count = (): void => {
    if (done++ >= at) throw new PowerCut('the power is off');
  };
  for (const name of CHANGES) {
    const call = real[name] as (...args: unknown[]) => unknown;
    patched[name] = async (...args: unknown[]) => {
      if (name !== 'open') count();
      const handle = await call.apply(fs.promises, args);
      return name === 'open' && args[1] !== 'r' ? counted(handle as object, count) : handle;
    };
  }
  syncBuiltinESMExports();
  try {
    await action();
  } catch (error) {
    if (done <= at) throw error;
  } finally {
    Object.assign(fs.promises, real);
    syncBuiltinESMExports();
  }
  return done > at;
}

/** A file handle each of whose writes and flushes counts; a cut write leaves half of its text. */
function counted(handle: object, count: () => void): object {
  return new Proxy(handle, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      return async (...args: unknown[]): Promise<unknown> => {
        const [text, ...rest] = args;
        if (key === 'write' && typeof text === 'string') {
          try {
            count();
          } catch (error) {
            await Reflect.apply(value, target, [text.slice(0, text.length / 2), ...rest]);
            throw error;
          }
        } else if (key === 'writeFile' || key === 'sync' || key === 'write') count();
        return Reflect.apply(value, target, args) as unknown;
      };
    },
  });
}
