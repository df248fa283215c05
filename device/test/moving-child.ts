// Two terminals in a network of their own (unshare -n) whose only address is taken away in mid-talk
// and replaced by another: both have moved at once. Says in JSON what became of the talk. Run by
// moving.test.ts, as root.

import { execFileSync } from 'node:child_process';
import { createLog } from '../../protocol/io/log.ts';
import { until, untilStill } from '../../protocol/test/until.ts';
import { allowing, openTown } from '../../sim/fleet/town.ts';

const ip = (words: string): void => {
  execFileSync('ip', words.split(' '), { stdio: ['ignore', 'ignore', 'inherit'] });
};
const OLD = '192.0.2.7';
const NEW = '198.51.100.9';

ip('link set lo up');
ip('link add left type veth peer name right');
ip('link set left up');
ip('link set right up');
ip(`address add ${OLD}/24 dev left`);

const lines: string[] = [];
const log = createLog({ write: (line) => void lines.push(line) });
const town = await openTown();
const callerHome = await town.enrol('TERM1', '');
const calleeHome = await town.enrol('TERM3', allowing('TERM1'));
// The broker is on loopback: without this, so would the sockets be.
const options = { udpBind: '0.0.0.0', log };
const [caller, callee] = [
  await town.start(callerHome, options),
  await town.start(calleeHome, options),
];
const heard: string[] = [];
callee.onIncoming((session) => {
  session.on('datagram', (message) => heard.push(Buffer.from(message).toString()));
});
const session = await caller.call({ to: 'TERM3', service: 'talk' });
session.sendDatagram(Buffer.from('before'));
await until(() => heard.includes('before'));
const before = session.state?.path?.host;
const counted = session.state?.counts.sentBytes ?? 0;
// Until both have looked for the first time there is nothing to compare with: addresses of no use
// come until they are heard of.
const of = (event: string): number => lines.filter((line) => line.includes(` ${event} `)).length;
let useless = 0;
let next = 0;
await until(() => {
  if (performance.now() >= next) {
    next = performance.now() + 200;
    useless += 1;
    ip(`address add 203.0.113.${useless}/32 dev right`);
  }
  return of('network-changed') >= 2;
});
await untilStill(() => of('reintroduced') + of('network-changed'));
const atFirst = { changes: of('network-changed'), reintroduced: of('reintroduced') };

ip('address flush dev right');
ip(`address del ${OLD}/24 dev left`);
ip(`address add ${NEW}/24 dev left`);
const moved = performance.now();
let said = 0;
await until(
  () => {
    session.sendDatagram(Buffer.from(`after ${++said}`));
    return heard.some((text) => text.startsWith('after')) || session.end !== undefined;
  },
  'the talk goes on',
  20_000,
);
const stallMs = Math.round(performance.now() - moved);
await until(() => session.end !== undefined || session.state?.path?.host === NEW);
await until(() => of('network-changed') - atFirst.changes >= 2, 'both see it');
const result = {
  before,
  after: session.state?.path?.host,
  stallMs,
  ended: session.end?.reason,
  isMetered: (session.state?.counts.sentBytes ?? 0) > counted,
  changes: of('network-changed') - atFirst.changes,
  reintroduced: of('reintroduced') - atFirst.reintroduced,
  addresses: lines.filter((line) => line.includes(NEW) || line.includes(OLD)).length,
};
await session.close();
await town.close();
process.stdout.write(`${JSON.stringify(result)}\n`);
