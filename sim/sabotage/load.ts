// `node --import file:///…/out/sim/sabotage/load.js?name=replay-window-off-by-one …`: from its
// first module on, the process has this bug. Imports nothing that a sabotage could change.

import { findSabotage } from './list.ts';
import { moduleOf, patchModules, patchedText } from './patching.ts';

const name = new URL(import.meta.url).searchParams.get('name') ?? '';
const sabotage = findSabotage(name);
if (sabotage === undefined) throw new Error(`there is no sabotage of the name "${name}"`);
patchModules(new Map([[moduleOf(sabotage), patchedText(sabotage)]]));
