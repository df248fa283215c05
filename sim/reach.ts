// Which two terminals can find a path to one another, by what is known of boxes in theory (RFC
// 4787, RFC 5128 §3.3): a socket of one end keeps its port for all, or the other end lets in
// whoever comes from the right host. Asked when the faults are over: who can, has to; who cannot,
// has to be told.

import type { Place } from './network/host.ts';
import type { VirtualTerminal } from './parties/virtual-terminal.ts';
import type { World } from './world.ts';

/** `maybe`: it takes luck, as the many-socket search does. */
type Reach = 'yes' | 'maybe' | 'no';

/** What all boxes between a host and some network do together. */
interface Way {
  readonly isBlocked: boolean;
  /** Each destination is shown another port. */
  readonly varies: boolean;
  /** Only what comes from the very address and port that was asked is let in. */
  readonly isStrict: boolean;
}

/** Whether these two have to find one another now. */
export function reachOf(world: World, a: VirtualTerminal, b: VirtualTerminal): Reach {
  const isRelayed = a.relay === 'only' || b.relay === 'only';
  const direct = isRelayed ? 'no' : directReach(a, b);
  if (direct === 'yes' || world.relay?.isUp !== true) return direct;
  // TCP goes to the relay where UDP does not.
  return a.relay === 'never' || b.relay === 'never' ? direct : 'yes';
}

function directReach(a: VirtualTerminal, b: VirtualTerminal): Reach {
  let best: Reach = 'no';
  for (const own of a.host.places) {
    const others = b.host.placeFor(own.address);
    if (others === undefined) continue;
    const found = between(own, others, [a.isForwarded, b.isForwarded]);
    if (found === 'yes') return found;
    if (found === 'maybe') best = found;
  }
  return best;
}

function between(a: Place, b: Place, isForwarded: readonly [boolean, boolean]): Reach {
  const [own, others] = [a, b].map((place, at) =>
    wayOf(place.nats, isForwarded[at] && !place.address.includes(':')),
  );
  const shared = a.nats.find((nat) => b.nats.includes(nat));
  if (shared === undefined) return punched(own, others, [...a.nats, ...b.nats]);
  // Neighbours: what is between them and the world does not matter.
  if (a.nats[0] === shared && b.nats[0] === shared) return 'yes';
  if (shared.behaviour.hairpins) return punched(own, others, [...a.nats, ...b.nats]);
  const isInner = [a, b].every(({ nats }) =>
    nats.slice(0, nats.indexOf(shared)).every(({ behaviour }) => !behaviour.translates),
  );
  return isInner ? 'maybe' : 'no';
}

/** RFC 5128 §3.3.5: somebody's port has to be known, or not to be asked for. */
function punched(own: Way, others: Way, boxes: Place['nats']): Reach {
  if (own.isBlocked || others.isBlocked) return 'no';
  if (own.varies && others.varies && (own.isStrict || others.isStrict)) return 'no';
  if ((own.varies && others.isStrict) || (others.varies && own.isStrict)) return 'maybe';
  // An early packet makes a box as bad as one that varies.
  return boxes.some(({ behaviour }) => behaviour.earlyTakesPort) ? 'maybe' : 'yes';
}

function wayOf(nats: Place['nats'], isForwarded: boolean): Way {
  const habits = nats.map(({ behaviour }) => behaviour);
  const strictest = 'address-and-port-dependent';
  return {
    isBlocked: habits.some(({ blocksUdp }) => blocksUdp),
    varies: !isForwarded && habits.some((box) => box.translates && box.mapping === strictest),
    isStrict: !isForwarded && habits.some(({ filtering }) => filtering === strictest),
  };
}
