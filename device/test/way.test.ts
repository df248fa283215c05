// The words for a talk's way, and for why there is none: a table of what a search may have found,
// and every combination of it, so that no search ends without a sentence.

import t from 'tap';
import type { PathClass } from '../../protocol/address.ts';
import { END_REASONS, NO_COUNTS } from '../../protocol/ends.ts';
import type { SessionId } from '../../protocol/ids.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { endError } from '../shell/call-error.ts';
import { TalkLog } from '../shell/talk-log.ts';
import { type Meeting, noWayWord, noWayWords, pathWords, wayWords } from '../shell/way.ts';

/**
 * Both sides' STUN servers answered, candidates were tried, nothing came; the server has no relay.
 */
const NOTHING_CAME: Meeting = {
  policy: 'if-needed',
  isMapped: true,
  varies: false,
  tried: 6,
  hasHeard: false,
  probes: 0,
  relay: 'none',
  relaySays: undefined,
};

t.test('a way is said by its kind and where it leads', async (t) => {
  const path = { host: '192.168.1.7', port: 50_123 };
  const said = (of: PathClass | undefined): string => wayWords({ class: of, path });
  t.equal(said('lan'), 'on the LAN 192.168.1.7:50123');
  t.equal(said('direct'), 'direct 192.168.1.7:50123');
  t.equal(said('relay'), 'through the relay 192.168.1.7:50123');
  t.equal(said(undefined), '192.168.1.7:50123', 'an older agent does not say which kind');
  t.equal(pathWords({ host: '2001:db8::7', port: 3_478 }), '[2001:db8::7]:3478');
  const server = { host: '192.0.2.5', port: 3_478 };
  const relayed = (transport: 'udp' | 'tcp', of: PathClass): string =>
    wayWords({ class: of, path, meeting: { tried: 3, relayAt: { server, transport } } });
  t.equal(relayed('udp', 'relay'), 'through the relay 192.0.2.5:3478');
  t.equal(relayed('tcp', 'relay'), 'through the relay 192.0.2.5:3478 over TCP');
  t.equal(relayed('udp', 'direct'), 'direct 192.168.1.7:50123', 'a relay that is not used now');
  t.equal(wayWords({ meeting: { tried: 12 } }), 'looking for a way (12 candidates tried)');
  t.equal(wayWords({ meeting: { tried: 1 } }), 'looking for a way (1 candidate tried)');
  t.equal(wayWords({}), 'looking for a way');
});

interface Case {
  readonly what: string;
  readonly found: Partial<Meeting>;
  readonly says: RegExp;
  readonly next: RegExp;
}

const CASES: readonly Case[] = [
  {
    what: 'UDP is blocked here',
    found: { isMapped: false, tried: 4 },
    says: /^nothing came back from any STUN server: UDP seems to be blocked on this side$/,
    next: /ask for outgoing UDP on this network, or use another one/,
  },
  {
    what: 'UDP is blocked here, and so is the relay',
    found: { isMapped: false, relay: 'failed', relaySays: 'the relay 192.0.2.5 does not answer' },
    says: /blocked on this side; and the relay failed: the relay 192\.0\.2\.5 does not answer$/,
    next: /ask for outgoing UDP/,
  },
  {
    what: 'no router lets the other through',
    found: {},
    says: /^both sides' routers let no UDP through to one another$/,
    next: /ask the operator for a relay \(nakodo serve --turn …\)/,
  },
  {
    what: 'a NAT that shows each destination another port',
    found: { varies: true },
    says: /to one another, and the one here shows everybody another port$/,
    next: /ask the operator for a relay/,
  },
  {
    what: 'the relay failed',
    found: { relay: 'failed', relaySays: 'the credentials have run out' },
    says: /to one another; and the relay failed: the credentials have run out$/,
    next: /tell the operator/,
  },
  {
    what: 'the relay failed and did not say why',
    found: { relay: 'failed' },
    says: /the relay failed: it did not say why$/,
    next: /tell the operator/,
  },
  {
    what: 'the owner wants no relay',
    found: { policy: 'never', relay: 'off' },
    says: /the setting relay = "never" of this terminal rules a relay out$/,
    next: /relay = "if-needed" in agent\.toml \(nakodo agent --relay if-needed\)/,
  },
  {
    what: 'the owner wants nothing but a relay, and there is none',
    found: { policy: 'only', isMapped: undefined, tried: 0 },
    says: /nothing but a relay, and none was offered .*: the server has none, or the other .* want/,
    next: /ask the operator for a relay.*the other terminal's owner.*or set relay = "if-needed"/,
  },
  {
    what: 'the owner wants nothing but a relay, and it failed',
    found: { policy: 'only', tried: 0, relay: 'failed', relaySays: 'no credentials' },
    says: /nothing but a relay \(relay = "only"\), and the relay failed: no credentials$/,
    next: /tell the operator/,
  },
  {
    what: 'the owner wants nothing but a relay, and the other end does not send to it',
    found: { policy: 'only', isMapped: undefined, relay: 'ready' },
    says: /nothing but a relay, which is ready, and the other terminal sent nothing to it$/,
    next: /is UDP blocked at the other end\? its owner sees with nakodo doctor/,
  },
  {
    what: 'the owner wants nothing but a relay, and the other end told nothing',
    found: { policy: 'only', isMapped: undefined, tried: 0, relay: 'ready' },
    says: /which is ready, and the other terminal told no address that it could reach$/,
    next: /its owner sees with nakodo doctor/,
  },
  {
    what: 'the owner wants nothing but a relay, which is slow',
    found: { policy: 'only', tried: 0, relay: 'asked' },
    says: /nothing but a relay, and the relay did not answer in time$/,
    next: /^call again$/,
  },
  {
    what: 'the relay is slow',
    found: { relay: 'asked' },
    says: /the relay did not answer in time$/,
    next: /^call again$/,
  },
  {
    what: 'there is a relay here, and nothing came through it',
    found: { relay: 'ready' },
    says: /nothing came through the relay$/,
    next: /is UDP blocked at the other end\? its owner sees with nakodo doctor/,
  },
  {
    what: 'the other end told nothing',
    found: { tried: 0, relay: 'unused' },
    says: /^the other terminal told no address that can be reached from here$/,
    next: /UDP may be blocked there: its owner sees with nakodo doctor/,
  },
  {
    what: 'there was a way',
    found: { hasHeard: true, relay: 'unused' },
    says: /^the way that there was is no more$/,
    next: /look at the network at both ends, then call again/,
  },
  {
    what: 'there was a way, and the relay went away',
    found: { hasHeard: true, relay: 'failed', relaySays: 'it has gone' },
    says: /^the way that there was is no more; and the relay failed: it has gone$/,
    next: /tell the operator/,
  },
];

t.test('S5000: a talk without a way says why, and what to try', async (t) => {
  for (const { what, found, says, next } of CASES) {
    const meeting = { ...NOTHING_CAME, ...found };
    const words = noWayWords(meeting);
    t.match(words.says, says, what);
    t.match(words.next, next, `${what}: what to try`);
    const error = endError('path-lost', meeting);
    t.match(error, { code: 'path-lost', exit: 5, next: words.next }, `${what}: as an error`);
    t.ok(error.message.endsWith(`: ${words.says}`), what);
  }
});

t.test('S5000: the log has a word for each reason', async (t) => {
  const word = (found: Partial<Meeting>): string => noWayWord({ ...NOTHING_CAME, ...found });
  t.equal(word({ isMapped: false }), 'udp-blocked');
  t.equal(word({ relay: 'failed' }), 'relay-failed');
  t.equal(word({ hasHeard: true, relay: 'failed' }), 'relay-failed');
  t.equal(word({ hasHeard: true }), 'way-gone');
  t.equal(word({}), 'no-relay');
  t.equal(word({ relay: 'off' }), 'no-relay');
  t.equal(word({ relay: 'ready' }), 'not-heard');
  const lines: object[] = [];
  const log = {
    ...silentLog,
    info: (event: string, facts = {}) => lines.push({ event, ...facts }),
  };
  const talks = new TalkLog(log);
  const ended = {
    kind: 'ended',
    session: 's' as SessionId,
    path: undefined,
    counts: NO_COUNTS,
  } as const;
  talks.onEvent({ ...ended, reason: 'path-lost', meeting: NOTHING_CAME });
  talks.onEvent({ ...ended, reason: 'done', meeting: NOTHING_CAME });
  t.match(lines, [
    { event: 'ended', why: 'no-relay' },
    { event: 'ended', why: undefined },
  ]);
});

t.test('every search says something, in a line, and only a lost path tells of it', async (t) => {
  const relays = ['off', 'none', 'unused', 'asked', 'ready', 'failed'] as const;
  const said = new Set<string>();
  for (const relay of relays) {
    for (const policy of ['never', 'if-needed', 'only'] as const) {
      for (const isMapped of [true, false, undefined]) {
        for (const tried of [0, 3]) {
          for (const hasHeard of [true, false]) {
            const meeting = { ...NOTHING_CAME, relay, policy, isMapped, tried, hasHeard };
            const { says, next } = noWayWords(meeting);
            t.notMatch(`${says} ${next}`, /undefined|\n/);
            t.ok(says.length > 0 && next.length > 0);
            said.add(says);
          }
        }
      }
    }
  }
  t.ok(said.size >= 10, `${said.size} sentences`);
  for (const { reason } of END_REASONS) {
    if (reason === 'path-lost') continue;
    t.equal(endError(reason, NOTHING_CAME).message, endError(reason).message, reason);
  }
});

t.test('who fell silent when the relay was gone is not to blame', async (t) => {
  const meeting = {
    ...NOTHING_CAME,
    isMapped: true,
    hasHeard: true,
    relay: 'failed',
    relaySays: 'The relay stopped answering.',
  } as const;
  const error = endError('peer-gone', meeting);
  t.match(error.message, /fell silent: the way that there was is no more; and the relay failed/);
  t.match(error.message, /The relay stopped answering/);
  t.match(error.next, /tell the operator/);
  t.equal(error.exit, endError('path-lost', meeting).exit);
});
