// What an owner is told about a peer that shows another key than it should (design §3): whom it
// shows, who should be there, and which command accepts the change, if it is right. A pin is moved
// by `trust`; an ID that the allow-list states is the list's, and stays until `allow` replaces it.

import type { AllowList } from '../../protocol/consent/allow-list.ts';
import { statedIds } from '../own-list.ts';
import type { Pin, TerminalStatus } from '../terminal-types.ts';

/**
 * The newest of the refused peers that would be refused again, in a sentence; undefined: all would
 * be let in by now. `list`: as it stands, undefined if it cannot be read; `isKnown`: by the pins.
 */
export function peerTrouble(
  changed: TerminalStatus['changedPeers'],
  {
    list,
    isKnown,
  }: { readonly list: AllowList | undefined; readonly isKnown: (peer: Pin) => boolean },
): string | undefined {
  for (const { name, seen, pinned } of changed.toReversed()) {
    const stated = list === undefined ? [] : statedIds(list, name);
    const isByList = stated.length > 0 && !stated.includes(seen);
    if (!isByList && isKnown({ name, id: seen })) continue;
    const [where, next] = isByList
      ? ['is stated in the allow-list', `nakodo allow ${name}#${seen}, with that entry's limits`]
      : // With its ID: somebody else may show another key before the owner has asked.
        ['is known under that name', `nakodo trust ${name}#${seen}`];
    return (
      `${name} was refused: it shows the key of ${seen}, and ${pinned} ${where}; ` +
      `if its owner says that this is right: ${next}`
    );
  }
  return undefined;
}
