// Puts sabotaged modules into this process: everything that is imported afterwards gets them, what
// was imported before keeps what it had. So a process is patched first and then imports the
// simulator; sim/sabotage/load.ts does it for `node --import`.

import { readFileSync } from 'node:fs';
import { register } from 'node:module';
import { type Sabotage, sabotaged } from './sabotage.ts';

/** The URL of the compiled module that a sabotage changes. */
export function moduleOf({ file }: Sabotage): string {
  return new URL(`../../${file.replace(/\.ts$/, '.js')}`, import.meta.url).href;
}

/** The compiled module with the bug in it. @throws Error if the bug no longer applies. */
export function patchedText(sabotage: Sabotage): string {
  return sabotaged(readFileSync(new URL(moduleOf(sabotage)), 'utf8'), sabotage);
}

/** Has this process load these texts (module URL → text) in place of what is on disk. */
export function patchModules(patches: ReadonlyMap<string, string>): void {
  register('./patch-hook.js', import.meta.url, { data: patches });
}
