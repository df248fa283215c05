// The two address notices of an introduction [S2008, S2009, Fig. 4]: what each end is told of the
// other, when both are to begin, and by which relay they may meet. One end's notice says nothing
// about the other that its own list, its policy or the rules of told-candidates.ts hold back.

import type { Candidate, MessageOf, RelayTerms } from '../protocol/control/messages.ts';
import type { RequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Micros, MS_PER_SECOND } from '../protocol/time.ts';
import type { Context } from './context.ts';
import type { Device } from './names.ts';
import type { SessionRecord, Side } from './records.ts';
import { relayTerms, relayUntil } from './relay-terms.ts';
import { type Place, isRelayAllowed, searchAddress, toldCandidates } from './told-candidates.ts';

/** What both notices have in common [Fig. 4]; the key lives only until they are sent. */
export interface Notice {
  readonly grant: Uint8Array;
  readonly signature: Uint8Array;
  readonly key: Uint8Array;
}

/** What credentials depend on. */
type Granted = Pick<SessionRecord, 'session' | 'begun' | 'seconds'>;

/** `to` is told of `of`. */
export interface RelayEnds {
  readonly of: Place;
  readonly to: Place;
}

/** One end of an introduction. */
export interface NoticeEnd {
  readonly device: Device;
  /** What its present boot put into its own signed word: its notice echoes it. */
  readonly nonce: RequestId;
  readonly candidates: readonly Candidate[];
  readonly place: Place;
  /** One way between it and us, by its own word; absent = 0. */
  readonly delayMs: number | undefined;
  /** The ephemeral key of its handshake, for the other. */
  readonly share: Uint8Array | undefined;
}

/**
 * The notice for one end of a session that has just begun; `peer` is the other. Both are sent at
 * one moment: the end with the shorter way waits for the difference, LIMITS.startMsMax at most, so
 * that both begin together.
 */
export function addressNotice(
  context: Context,
  now: Micros,
  of: {
    readonly row: Granted;
    readonly notice: Notice;
    readonly side: Side;
    readonly own: NoticeEnd;
    readonly peer: NoticeEnd;
  },
): MessageOf<'addressNotice'> {
  const { own, peer, row, side } = of;
  const ends = { of: peer.place, to: own.place };
  return {
    kind: 'addressNotice',
    request: own.nonce,
    ...of.notice,
    peerKeys: peer.device.keys,
    peerCandidates: toldCandidates(peer.candidates, ends),
    peerVaries: peer.place.varies,
    startMs: goMs(own.delayMs, peer.delayMs),
    searchAt: searchAddress(ends),
    relay: relayFor(context, now, { row, side, ends }),
    peerShare: peer.share,
  };
}

/** Until when a session's credentials for a relay are good that are made now, in Unix seconds. */
export function relayEnd(context: Context, now: Micros, { begun, seconds }: Granted): number {
  return relayUntil(context.wall.at(now), begun + seconds * MS_PER_SECOND);
}

/** Credentials for one end of a session, made now; undefined where it may use no relay. */
export function relayFor(
  context: Context,
  now: Micros,
  of: { readonly row: Granted; readonly side: Side; readonly ends: RelayEnds },
): RelayTerms | undefined {
  if (!isRelayAllowed(of.ends.of, of.ends.to)) return undefined;
  const { session } = of.row;
  const until = relayEnd(context, now, of.row);
  return relayTerms(context.options.relay, { session, side: of.side, until });
}

/** Milliseconds that an end waits until it begins, by both measured ways. */
const goMs = (own = 0, peer = 0): number => Math.min(LIMITS.startMsMax, Math.max(0, peer - own));
