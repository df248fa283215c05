// How those who attack come to act: at the rate of an option, until the faults are over. Whatever
// they do is counted under that option and marked by its name.

import type { Rng } from '../../protocol/random.ts';
import { after } from '../../protocol/time.ts';
import type { OptionName } from '../options.ts';
import { gap, pick } from '../strikes.ts';
import type { World } from '../world.ts';

/** One thing that an attacker may do; undefined or false: there was nothing to do it to. */
export type Deed = (rng: Rng) => boolean;

/** Has one of the deeds done each time, at the rate of the option. */
export function actAtRate(
  world: World,
  option: OptionName,
  deeds: Readonly<Record<string, Deed>>,
): void {
  const perMinute = world.options[option];
  if (perMinute === 0) return;
  const rng = world.rng(`deeds/${option}`);
  const names = Object.keys(deeds);
  const again = (): void =>
    world.schedule(after(world.now, gap(rng, perMinute)), () => {
      if (!world.isFaulty) return;
      const name = pick(rng, names);
      if (deeds[name](rng)) did(world, option, name);
      again();
    });
  again();
}

/** Counts a deed. */
export function did(world: World, option: OptionName, name: string): void {
  world.fired(option);
  world.mark(`${option}: ${name}`);
}

/** Does something later, if the faults last until then. */
export function later(world: World, micros: number, run: () => void): void {
  world.schedule(after(world.now, micros), () => {
    if (world.isFaulty) run();
  });
}
