// The way that a talk takes to its peer, in words: on the LAN, direct, through the relay; and why
// there is none, made from what the search for one found (MeetingReport), with what to try. Pure.

import { type PathClass, type RelayPolicy, isIpv6Text } from '../../protocol/address.ts';
import type { Path } from '../../protocol/core.ts';
import type { MeetingReport } from '../terminal-types.ts';

/** What became of the search for a way, and what this terminal's owner lets it do. */
export type Meeting = MeetingReport & { readonly policy: RelayPolicy };

const CLASS_WORDS: Readonly<Record<PathClass, string>> = {
  lan: 'on the LAN',
  direct: 'direct',
  relay: 'through the relay',
};

/** `192.0.2.1:50123`, `[2001:db8::1]:50123`. */
export function pathWords({ host, port }: Path): string {
  return isIpv6Text(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Which way a talk takes now; through a relay of ours with its server's address, through one of the
 * peer's with the address that it has there. Anything may be missing: an agent of another release
 * says less, and a talk that looks for its way has none.
 */
export function wayWords(talk: {
  readonly class?: PathClass | undefined;
  readonly path?: Path | undefined;
  readonly meeting?: Pick<MeetingReport, 'tried' | 'relayAt'> | undefined;
}): string {
  const { class: of, path, meeting } = talk;
  if (of === 'relay' && meeting?.relayAt !== undefined) {
    const { server, transport } = meeting.relayAt;
    return `${CLASS_WORDS.relay} ${pathWords(server)}${transport === 'tcp' ? ' over TCP' : ''}`;
  }
  if (path !== undefined) {
    return of === undefined ? pathWords(path) : `${CLASS_WORDS[of]} ${pathWords(path)}`;
  }
  if (of !== undefined) return CLASS_WORDS[of];
  const tried = meeting?.tried ?? 0;
  const count = tried === 1 ? '1 candidate' : `${tried} candidates`;
  return tried === 0 ? 'looking for a way' : `looking for a way (${count} tried)`;
}

/** What happened, and what to do. */
interface NoWay {
  readonly says: string;
  readonly next: string;
}

const BLOCKED = 'nothing came back from any STUN server: UDP seems to be blocked on this side';
const UNBLOCK = 'ask for outgoing UDP on this network, or use another one';
const SHUT = "both sides' routers let no UDP through to one another";
/** The server gives no credentials where either end's owner wants no relay. */
const NONE_OFFERED =
  "none was offered for this talk: the server has none, or the other terminal's owner wants " +
  'none (relay = "never")';
const ASK_FOR_RELAY =
  "ask the operator for a relay (nakodo serve --turn …), and the other terminal's owner " +
  'whether it says relay = "never"';
const UNSAID = 'it did not say why';
const TELL_OPERATOR = 'tell the operator what the relay says, then call again';
const LOOK_THERE = 'is UDP blocked at the other end? its owner sees with nakodo doctor';
const OTHER_SIDE = 'the other terminal told no address that can be reached from here';

/** Why a talk found no way to its peer, or lost it for good [S5000]. */
export function noWayWords(meeting: Meeting): NoWay {
  const { isMapped, hasHeard, tried } = meeting;
  if (meeting.policy === 'only' && !(hasHeard && meeting.relay !== 'none')) {
    return onlyRelayWords(meeting);
  }
  const relayed = relayWords(meeting);
  if (hasHeard) {
    const next = relayed.next ?? 'look at the network at both ends, then call again';
    return { says: `the way that there was is no more${relayed.says}`, next };
  }
  if (isMapped === false) return { says: `${BLOCKED}${relayed.says}`, next: UNBLOCK };
  if (tried === 0) {
    const next = relayed.next ?? 'UDP may be blocked there: its owner sees with nakodo doctor';
    return { says: `${OTHER_SIDE}${relayed.says}`, next };
  }
  const kind = meeting.varies ? ', and the one here shows everybody another port' : '';
  const next = relayed.next ?? LOOK_THERE;
  return { says: `${SHUT}${kind}${relayed.says}`, next };
}

/** The same in a word, for the log: a short one that does not change. */
export function noWayWord({ isMapped, hasHeard, relay }: MeetingReport): string {
  if (hasHeard) return relay === 'failed' ? 'relay-failed' : 'way-gone';
  if (isMapped === false) return 'udp-blocked';
  if (relay === 'failed') return 'relay-failed';
  return relay === 'none' || relay === 'off' ? 'no-relay' : 'not-heard';
}

/** Of a terminal whose owner wants nothing but a relay: no address of either end matters. */
function onlyRelayWords({ relay, relaySays, tried }: Meeting): NoWay {
  const only = 'this terminal uses nothing but a relay';
  switch (relay) {
    case 'none':
      return {
        says: `${only}, and ${NONE_OFFERED}`,
        next: `${ASK_FOR_RELAY}; or ${withPolicy('if-needed')}`,
      };
    case 'failed':
      return {
        says: `${only} (relay = "only"), and the relay failed: ${relaySays ?? UNSAID}`,
        next: TELL_OPERATOR,
      };
    case 'asked':
      return { says: `${only}, and the relay did not answer in time`, next: 'call again' };
    case 'ready': {
      const peer = tried === 0 ? 'told no address that it could reach' : 'sent nothing to it';
      return { says: `${only}, which is ready, and the other terminal ${peer}`, next: LOOK_THERE };
    }
    case 'off':
    case 'unused':
      return { says: `${only}, and the talk ended before one was asked`, next: 'call again' };
  }
}

/** What the relay had to do with it; `says` follows on another reason. */
function relayWords({ relay, relaySays }: Meeting): NoWayOfRelay {
  switch (relay) {
    case 'failed':
      return {
        says: `; and the relay failed: ${relaySays ?? UNSAID}`,
        next: TELL_OPERATOR,
      };
    case 'off':
      return {
        says: '; and the setting relay = "never" of this terminal rules a relay out',
        next: withPolicy('if-needed'),
      };
    case 'none':
      return {
        says: '',
        next: `${ASK_FOR_RELAY}; or use another network`,
      };
    case 'asked':
      return { says: '; and the relay did not answer in time', next: 'call again' };
    case 'ready':
      return { says: '; and nothing came through the relay', next: undefined };
    case 'unused':
      return { says: '', next: undefined };
  }
}

interface NoWayOfRelay {
  readonly says: string;
  readonly next: string | undefined;
}

const withPolicy = (policy: RelayPolicy): string =>
  `set relay = "${policy}" in agent.toml (nakodo agent --relay ${policy}) and call again`;
