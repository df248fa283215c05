// Deliberate bugs of how two terminals find one another: who is told where they are, who is probed
// how often, what counts as proof, and when a terminal asks where it is.

import type { Sabotage } from './sabotage.ts';

/** In device/meeting/, session-manager/ and broker/. */
export const MEETING_SABOTAGES: readonly Sabotage[] = [
  {
    name: 'probes-without-a-budget',
    core: 'device',
    file: 'device/meeting/pairs.ts',
    find:
      'if (!pair.isListed || pair.sent >= MEETING_LIMITS.unprovenPacketsMax) return false; ' +
      'const remote =',
    replace: 'if (pair.isListed) return true; const remote =',
    why: 'whoever lists an address of somebody else has it probed as long as the talk lasts',
    source: 'invariant: to a refused address nothing',
  },
  {
    name: 'pause-between-probes-forgotten',
    core: 'device',
    file: 'device/meeting/pairs.ts',
    find: 'pair.nextAt = after(now, ms(pair.pauseMs));',
    replace: 'pair.sent = 0; pair.nextAt = after(now, ms(pair.pauseMs / 10));',
    why: 'a call floods every address that its peer has named',
  },
  {
    name: 'any-answer-proves-a-path',
    core: 'device',
    file: 'device/meeting/pairs.ts',
    find: 'if (at < 0) return undefined;',
    replace: 'if (at < 0) return 1;',
    why: 'who repeats an answer from a victim’s address has the talk sent there',
    under: { 'hostile.network': 3_000, 'hostile.forwarder': 8 },
  },
  {
    name: 'addresses-of-a-site-told-to-anybody',
    core: 'session-manager',
    file: 'session-manager/told-candidates.ts',
    find: 'return isSameSite(of, to);',
    replace: 'return true;',
    why: 'a peer on the other side of the world learns how the house is wired',
    source: 'invariant: nobody learns an address',
    under: { 'nat.share': 1 },
  },
  {
    name: 'search-where-nobody-saw-the-peer',
    core: 'session-manager',
    file: 'session-manager/told-candidates.ts',
    find: 'proven: found.proven === true ? seenAt : undefined,',
    replace: 'proven: reflexive(found.candidates).at(-1),',
    why: 'whoever has a victim’s address recorded has 2,048 packets sent to it',
    under: { 'nat.share': 1, 'hostile.network': 3_000, 'mqtt.delay': 300 },
  },
  {
    name: 'search-at-twice-the-rate',
    core: 'device',
    file: 'device/meeting/search.ts',
    find: 'const due = 1 + passed * searchPerSecond',
    replace: 'const due = 1 + 2 * passed * searchPerSecond',
    why: 'the one flood that is allowed becomes two',
    under: { 'nat.share': 1 },
  },
  {
    name: 'addresses-told-after-the-end',
    core: 'session-manager',
    file: 'session-manager/reintroductions.ts',
    find: 'side === undefined || session.row.reason !== undefined) {',
    replace: 'side === undefined) {',
    why: 'a terminal that was put out of a talk goes on hearing where the other one is',
    source: 'invariant: nobody learns an address',
    under: { 'host.move': 12, 'host.told': 1, 'operator.end': 20, 'work.hold': 0.8 },
  },
  {
    name: 'relay-never-asked',
    core: 'device',
    file: 'device/meeting/relay-use.ts',
    find: "if (state === 'asked' || state === 'ready') return; const at",
    replace: 'if (now >= 0) return; const at',
    why: 'two symmetric NATs never meet',
    under: { 'nat.share': 1, 'relay.there': 1 },
  },
];
