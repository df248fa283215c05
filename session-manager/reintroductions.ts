// Candidates in mid-session [42, 51]: a terminal tells where it can be reached now (another socket,
// a relay, another network), and its peer is told, within the grant that both have: nothing of the
// grant changes and no meter stops. Filtered like the first ones, by where both were seen when they
// were introduced; after a restart of the manager that is unknown, and what only a site knows is
// held back. What was told last is told again to a peer that was away: both may have moved at once.
// Bounded per end of a session by a rate, in the log by MANAGER_LIMITS.reintroducedEntriesMax.

import type { MessageOf } from '../protocol/control/messages.ts';
import type { DeviceId, SessionId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Micros, after, micros, ms } from '../protocol/time.ts';
import { TokenBucket } from '../protocol/token-bucket.ts';
import { type RelayEnds, relayEnd, relayFor } from './address-notices.ts';
import type { Context } from './context.ts';
import { MANAGER_LIMITS } from './limits.ts';
import { type Side, sideOf } from './records.ts';
import type { Session, Sessions } from './sessions.ts';
import { type Place, UNKNOWN_PLACE, placeAfter, toldCandidates } from './told-candidates.ts';

/** One end of a session in which candidates were told. */
interface End {
  place: Place;
  /** The highest that it has told; −1: none. */
  generation: number;
  /** What its peer was told last; for the peer to be told again. */
  told: MessageOf<'peerCandidates'> | undefined;
  readonly rate: TokenBucket;
}

/** A session in which candidates were told. */
interface Meeting {
  readonly ends: Readonly<Record<Side, End>>;
  readonly relayUntil: number;
  entries: number;
  nextEntry: Micros;
}

/** Where the two ends of a session were when it began. */
type Places = Readonly<Record<Side, Place>>;

/** A session in which nothing was told since: most of them, so that it is kept small. */
interface Begun extends Places {
  /** Until when the credentials of its notices are good, Unix seconds; 0: that is unknown. */
  readonly relayUntil: number;
}

const UNKNOWN: Begun = { caller: UNKNOWN_PLACE, callee: UNKNOWN_PLACE, relayUntil: 0 };

const PEER: Readonly<Record<Side, Side>> = { caller: 'callee', callee: 'caller' };

/** What is known of the ends of open sessions; as much of each as LIMITS.sessionsMax allows. */
export class Reintroductions {
  readonly #context: Context;
  readonly #sessions: Sessions;
  readonly #begun = new Map<SessionId, Begun>();
  readonly #meetings = new Map<SessionId, Meeting>();
  /** Sessions in which a terminal was told something, oldest first; for those that come back. */
  readonly #toldTo = new Map<DeviceId, Set<SessionId>>();

  constructor(context: Context, sessions: Sessions) {
    this.#context = context;
    this.#sessions = sessions;
    sessions.onClosed = (row) => {
      this.#begun.delete(row.session);
      this.#meetings.delete(row.session);
      for (const device of [row.callerId, row.calleeId]) this.#forget(device, row.session);
    };
  }

  /** Both ends of an open session are introduced now, from these places. */
  begin(now: Micros, session: SessionId, places: Places): void {
    const row = this.#sessions.open(session)?.row;
    if (row === undefined) return;
    const { caller, callee } = places;
    this.#begun.set(session, {
      // From here on nothing is searched for at an address.
      caller: { ...caller, proven: undefined },
      callee: { ...callee, proven: undefined },
      relayUntil: relayEnd(this.#context, now, row),
    });
  }

  /**
   * A terminal tells where it is [42]: its peer is told, if this terminal is an end of a session
   * that is under way. Any other session, whether there is one or not, has the same refusal. What
   * was told already, and what is over the rate, is answered and not told.
   */
  onCandidates(now: Micros, from: DeviceId, message: MessageOf<'candidates'>): void {
    const { request } = message;
    const session = this.#sessions.open(message.session);
    const side = session && sideOf(session.row, from);
    if (session === undefined || side === undefined || session.row.reason !== undefined) {
      this.#context.sendDown(from, { kind: 'refusal', request, code: 'no-session' });
      return;
    }
    const meeting = this.#meeting(session);
    const end = meeting.ends[side];
    if (message.generation <= end.generation) {
      this.#answer(now, from, { session, side, meeting, request });
    } else if (end.rate.take(now)) {
      this.#tell(now, session, { side, meeting, message });
      this.#answer(now, from, { session, side, meeting, request });
      if (message.moved === true) this.#log(now, meeting, { side, message });
    } else {
      this.#context.counts.candidatesHeld += 1;
      this.#context.sendDown(from, { kind: 'candidatesTold', request });
    }
  }

  /**
   * A terminal has registered, so that it may have been away: it is told once more where its peers
   * are that have moved, of its newest LIMITS.callsMax sessions. It knows by the generation what it
   * was told before.
   */
  onPresent(device: DeviceId): void {
    const sessions = [...(this.#toldTo.get(device) ?? [])].slice(-LIMITS.callsMax);
    for (const id of sessions) {
      const row = this.#sessions.open(id)?.row;
      const side = row && sideOf(row, device);
      const told = side && this.#meetings.get(id)?.ends[PEER[side]].told;
      if (told !== undefined && row?.reason === undefined) this.#context.sendDown(device, told);
    }
  }

  #meeting({ row }: Session): Meeting {
    const known = this.#meetings.get(row.session);
    if (known !== undefined) return known;
    const meeting = makeMeeting(this.#begun.get(row.session) ?? UNKNOWN);
    this.#begun.delete(row.session);
    this.#meetings.set(row.session, meeting);
    return meeting;
  }

  #tell(
    now: Micros,
    { row }: Session,
    {
      side,
      meeting,
      message,
    }: { readonly side: Side; readonly meeting: Meeting; readonly message: Candidates },
  ): void {
    const end = meeting.ends[side];
    const { session, generation, varies } = message;
    end.generation = generation;
    end.place = placeAfter(end.place, message);
    const ends = { of: end.place, to: meeting.ends[PEER[side]].place };
    const candidates = toldCandidates(message.candidates, ends);
    end.told = { kind: 'peerCandidates', session, generation, candidates, varies };
    const peer = row[`${PEER[side]}Id`];
    this.#remember(peer, session);
    this.#context.sendDown(peer, end.told);
    // Since a restart of ours it may have had nothing to say: it is told when it has registered.
    this.#context.channels.invite(now, peer);
  }

  /** With new credentials for a relay, where those of the notice end before the grant does. */
  #answer(
    now: Micros,
    to: DeviceId,
    {
      session: { row },
      side,
      meeting,
      request,
    }: {
      readonly session: Session;
      readonly side: Side;
      readonly meeting: Meeting;
      readonly request: Candidates['request'];
    },
  ): void {
    const ends: RelayEnds = { of: meeting.ends[PEER[side]].place, to: meeting.ends[side].place };
    const isLater = relayEnd(this.#context, now, row) > meeting.relayUntil;
    // What nobody knows any more is nothing to mint credentials by: one end may want no relay.
    const isKnown = meeting.relayUntil > 0;
    const relay =
      isKnown && isLater ? relayFor(this.#context, now, { row, side, ends }) : undefined;
    this.#context.sendDown(to, { kind: 'candidatesTold', request, relay });
  }

  /** What is told does not wait for the disk, and a full one costs the entry only. */
  #log(
    now: Micros,
    meeting: Meeting,
    { side: by, message }: { readonly side: Side; readonly message: Candidates },
  ): void {
    if (meeting.entries >= MANAGER_LIMITS.reintroducedEntriesMax || now < meeting.nextEntry) return;
    meeting.entries += 1;
    meeting.nextEntry = after(now, ms(MANAGER_LIMITS.reintroducedPauseMs));
    const { session, generation } = message;
    this.#context.ledger.add(now, {
      entries: [{ kind: 'reintroduced', session, by, generation }],
      writes: () => [],
      persisted: () => {},
      failed: () => {},
    });
  }

  #remember(device: DeviceId, session: SessionId): void {
    const sessions = this.#toldTo.get(device) ?? new Set();
    this.#toldTo.set(device, sessions);
    sessions.delete(session);
    sessions.add(session);
  }

  #forget(device: DeviceId, session: SessionId): void {
    const sessions = this.#toldTo.get(device);
    sessions?.delete(session);
    if (sessions?.size === 0) this.#toldTo.delete(device);
  }
}

type Candidates = MessageOf<'candidates'>;

function makeMeeting({ caller, callee, relayUntil }: Begun): Meeting {
  const end = (place: Place): End => ({
    place,
    generation: -1,
    told: undefined,
    rate: new TokenBucket(MANAGER_LIMITS.candidatesBurst, ms(MANAGER_LIMITS.candidatesEveryMs)),
  });
  const ends = { caller: end(caller), callee: end(callee) };
  return { ends, relayUntil, entries: 0, nextEntry: micros(0) };
}
