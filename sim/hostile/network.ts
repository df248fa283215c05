// Somebody on the network (threats T3, T10): hears every datagram, has no key, and says again what
// was said, at another time, to another socket, from another address, with other bits.

import { randomBelow } from '../../protocol/random.ts';
import { after, ms } from '../../protocol/time.ts';
import type { Path } from '../../protocol/core.ts';
import type { Watcher, World } from '../world.ts';
import { gap, pick } from '../strikes.ts';
import { Overheard, distorted } from './overheard.ts';

const SOON_MS = 20;
const VICTIM: Pick<Path, 'host' | 'port'> = { host: '198.51.100.7', port: 53 };

interface Datagram {
  readonly from: Path;
  readonly to: Path;
  readonly bytes: Uint8Array;
}

/** Begins to listen and, at the rate of `hostile.network`, to speak. */
export function beginNetworkAttack(world: World): Watcher {
  const rng = world.rng('hostile/network');
  const heard = new Overheard<Datagram>();
  const perMinute = world.options['hostile.network'];
  const strike = (): void => {
    const old = heard.recall(rng);
    if (old === undefined) return;
    const sockets = world.terminals.flatMap((terminal) => terminal.sockets);
    const other = sockets.length > 0 ? pick(rng, sockets) : old.to;
    const to = [old.to, old.from, other][randomBelow(rng, 3)];
    const victim = world.internet.paths.of(VICTIM.host, VICTIM.port);
    const from = [old.from, old.to, other, victim][randomBelow(rng, 4)];
    const at = after(world.now, randomBelow(rng, ms(SOON_MS)));
    world.internet.inject(at, from, to, distorted(rng, old.bytes));
    world.fired('hostile.network');
  };
  const again = (): void =>
    world.schedule(after(world.now, gap(rng, perMinute)), () => {
      if (!world.isFaulty) return;
      strike();
      again();
    });
  if (perMinute > 0) again();
  return {
    onHappening(happening) {
      if (perMinute === 0 || happening.kind !== 'datagramSent') return;
      const { socket, peer, bytes } = happening;
      heard.hear({ from: socket, to: peer, bytes: bytes.slice() });
    },
  };
}
