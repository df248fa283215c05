// What can be expected of the bus in one world: a faulty broker loses messages or lets one overtake
// another, a hostile one tells whom it likes what it likes.

import { OPTION_NAMES, type Options } from '../options.ts';

const HOSTILE: ReadonlySet<string> = new Set(['hostile.broker', 'hostile.hold']);
const HOSTILE_NAMES = OPTION_NAMES.filter((name) => HOSTILE.has(name));

/** Whether the broker passes on what it is told, to whom it is for. */
export const isBusHonest = (options: Options): boolean =>
  HOSTILE_NAMES.every((name) => options[name] === 0);

/** Whether what is published arrives, once and in order, as long as both ends are connected. */
export const isBusReliable = (options: Options): boolean =>
  options['mqtt.drop'] + options['mqtt.reorder'] + options['mqtt.cut'] === 0 &&
  isBusHonest(options);
