// Time-limited credentials for a relay (draft-uberti-behave-turn-rest-00), made for one end of one
// session and handed out with its notice. The relay believes them by a secret that it shares with
// the shell; nothing is kept of them here, and no log or listing holds one. They are good until the
// granted expiry, or for MANAGER_LIMITS.relaySecondsMax if that is sooner. What was allocated with
// them goes on as the relay lets it; who needs another allocation later has told its candidates
// before, and gets new ones with the answer (reintroductions.ts).

import type { RelayTerms } from '../protocol/control/messages.ts';
import type { SessionId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MS_PER_SECOND } from '../protocol/time.ts';
import { MANAGER_LIMITS } from './limits.ts';
import type { RelayService } from './manager-types.ts';
import type { Side } from './records.ts';

/** Characters of a session ID in a user name: 60 bits, which `nakodo sessions` finds it by. */
const SESSION_CHARACTERS = 12;

/**
 * Until when credentials are good that are made now, in Unix seconds: the end of the grant and what
 * two clocks may differ by, at most MANAGER_LIMITS.relaySecondsMax from now. Both in wall
 * milliseconds.
 */
export function relayUntil(wall: number, grantEnds: number): number {
  const end = Math.ceil(grantEnds / MS_PER_SECOND) + LIMITS.clockSkewSeconds;
  return Math.min(end, Math.floor(wall / MS_PER_SECOND) + MANAGER_LIMITS.relaySecondsMax);
}

/** Credentials for one end of a session; undefined where there is no relay. */
export function relayTerms(
  relay: RelayService | undefined,
  of: { readonly session: SessionId; readonly side: Side; readonly until: number },
): RelayTerms | undefined {
  const servers = relay?.servers().slice(0, LIMITS.meetingServersMax) ?? [];
  if (relay === undefined || servers.length === 0) return undefined;
  const username = `${of.until}:${of.session.slice(0, SESSION_CHARACTERS)}.${of.side}`;
  return { servers, username, password: relay.credentials(username) };
}
