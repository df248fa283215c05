// The invariants of consent and of the control plane, each in a file of its own; they share one
// ear for what parties say to one another.

import type { Watcher, World } from '../world.ts';
import { Addresses } from './addresses.ts';
import { BrokerKeepsTime } from './broker-keeps-time.ts';
import { Clones } from './clones.ts';
import { Consent } from './consent.ts';
import { LogIsSound } from './log-is-sound.ts';
import { Logins } from './logins.ts';
import { Marks } from './marks.ts';
import { Memory } from './memory.ts';
import { Notices } from './notices.ts';
import { Refusals } from './refusals.ts';
import { Secrets } from './secrets.ts';
import { Sessions } from './sessions.ts';
import { Sleepers } from './sleepers.ts';
import { SeenFrom } from './seen-from.ts';
import { Spoken, type WordHearer } from './spoken.ts';
import { TalkRecords } from './talk-records.ts';

/** Their watchers, for one world. */
export function controlWatchers(
  world: World,
  seen = new SeenFrom(),
  hearers: readonly WordHearer[] = [seen],
): readonly Watcher[] {
  const consent = new Consent(world);
  const addresses = new Addresses(world, seen);
  const refusals = new Refusals(world);
  const log = new LogIsSound(world);
  const notices = new Notices(world);
  const sessions = new Sessions(world);
  const clones = new Clones(world);
  const secrets = new Secrets(world);
  const marks = new Marks(world);
  return [
    new Spoken([
      ...hearers,
      consent,
      addresses,
      refusals,
      log,
      notices,
      sessions,
      clones,
      secrets,
      marks,
    ]),
    consent,
    addresses,
    refusals,
    log,
    notices,
    sessions,
    clones,
    new Logins(world),
    new BrokerKeepsTime(world),
    new TalkRecords(world),
    new Sleepers(world),
    new Memory(world),
    secrets,
    marks,
  ];
}
