// A process in a network of its own (unshare -n): watches it as an agent does, changes it, and says
// each change that it heard of in a line. Run by network-watch.test.ts, as root.

import { execFileSync } from 'node:child_process';
import { until, untilStill } from '../../protocol/test/until.ts';
import { NetworkWatch } from '../shell/network-watch.ts';

const ip = (words: string): void => {
  execFileSync('ip', words.split(' '), { stdio: ['ignore', 'ignore', 'inherit'] });
};

let changes = 0;
const watch = new NetworkWatch({
  everyMs: 20,
  onChange: (change) => {
    changes += 1;
    process.stdout.write(`${change}\n`);
  },
});

/** Does something to the network, and waits until it was heard; `else` nothing may be heard. */
async function changed(what: string, words: readonly string[]): Promise<void> {
  const before = changes;
  for (const each of words) ip(each);
  await until(() => changes > before, what);
  process.stdout.write(`${what}\n`);
}

// What an interface is, sysfs says of the network that it was mounted in.
execFileSync('mount', ['-t', 'sysfs', 'sysfs', '/sys'], { stdio: 'ignore' });
// Two ends of one cable: an interface without a peer that is up has no carrier.
ip('link add left type veth peer name right');
ip('link set left up');
ip('link set right up');
ip('link set lo up');
watch.watch();
// Until it has looked for the first time, there is nothing to compare with.
let flips = 0;
await until(() => {
  flips += 1;
  ip(`address ${flips % 2 === 1 ? 'add' : 'del'} 192.0.2.77/24 dev right`);
  return changes > 0;
});
await untilStill(() => changes);
await changed('address', ['address add 192.0.2.7/24 dev left']);
await changed('route', ['route add default via 192.0.2.1 dev left']);
await changed('other route', ['route replace default via 192.0.2.2 dev left']);
const heard = changes;
ip('address add 172.17.0.1/16 dev right');
await untilStill(() => changes);
process.stdout.write(`inside: ${changes - heard}\n`);
await changed('IPv6 address', ['-6 address add 2001:db8::7/64 dev left nodad']);
await changed('IPv6 route', ['-6 route add default via 2001:db8::1 dev left']);
await changed('address gone', ['address del 192.0.2.7/24 dev left']);
watch.rest();
