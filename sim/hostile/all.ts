// Everybody who attacks a world, by its options: those who need to be enrolled come before it is
// opened, and all of them begin when the faults do and are gone when it is calm.

import type { Watcher, World } from '../world.ts';
import { beginBrokerAttack } from './broker.ts';
import { beginCrew, enlistCrew } from './crew.ts';
import { beginForwarder } from './forwarder.ts';
import { beginNetworkAttack } from './network.ts';
import { beginStrangers } from './strangers.ts';

/** Enlists hostile terminals, before `open`; what it returns begins all attacks, after it. */
export function prepareAttacks(world: World): () => readonly Watcher[] {
  const crew = enlistCrew(world);
  return () => [
    ...beginNetworkAttack(world),
    ...beginForwarder(world),
    ...beginBrokerAttack(world),
    ...beginCrew(world, crew),
    ...beginStrangers(world),
  ];
}
