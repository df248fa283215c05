// Two terminals that are enrolled at a virtual manager, each with a sealed channel, and what each
// of them was told.

import { type Terminal, World, down } from './virtual-manager.ts';

/** TERM1 and TERM3, both with a sealed channel. */
interface Pair {
  readonly world: World;
  readonly one: Terminal;
  readonly three: Terminal;
}

/** A world with these two. */
export function pair(): Pair {
  const world = new World();
  return { world, one: world.terminal('TERM1'), three: world.terminal('TERM3') };
}

/** The kinds of what the manager has told a terminal, from its output number `from` on. */
export const told = ({ world }: Pair, to: Terminal, from = 0): string[] =>
  world.sent
    .slice(from)
    .filter((sent) => sent.topic === down(to))
    .map(({ message }) => message.kind);
