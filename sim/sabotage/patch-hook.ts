// The loader's side of sabotage: Node runs this in a thread of its own (`module.register`, Node
// 20.19 and later) and asks it for every module that is imported from then on. It gives out other
// text for the few that it was told of, and touches nothing else.

import type { LoadHook } from 'node:module';

let texts: ReadonlyMap<string, string> = new Map();

/** Node hands over what `register` was given: module URL → text. */
export function initialize(patches: ReadonlyMap<string, string>): void {
  texts = patches;
}

/** Gives out the patched text of a module, or leaves it to Node. */
export const load: LoadHook = (url, context, nextLoad) => {
  const source = texts.get(url);
  if (source === undefined) return nextLoad(url, context);
  return { format: 'module', source, shortCircuit: true };
};
