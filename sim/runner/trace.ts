// A world as text: one aligned line for each change of state, `time  who  what`. What happens for
// each datagram is left out; those are counted at the end of a talk.

import type { TerminalEvent } from '../../device/terminal-types.ts';
import { seconds } from '../../protocol/time.ts';
import type { BusParty, Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';

const TIME_COLUMNS = 14;
/** Microseconds are the world's unit. */
const DECIMALS = 6;
const WHO_COLUMNS = 14;
/** Characters of a session's ID that tell it from the others of a world. */
const ID_CHARACTERS = 8;

/** One change of state. */
export interface TraceLine {
  /** Virtual seconds. */
  readonly at: number;
  readonly who: string;
  readonly what: string;
}

/** Hands every line to `write`. */
export function tracer(world: World, write: (line: TraceLine) => void): Watcher {
  return {
    onHappening(happening) {
      const [who, what] = describe(happening) ?? [];
      if (who === undefined || what === undefined) return;
      write({ at: world.now / seconds(1), who, what });
    },
  };
}

/** A line as people read it. */
export function traceWords({ at, who, what }: TraceLine): string {
  return `${at.toFixed(DECIMALS).padStart(TIME_COLUMNS)}  ${who.padEnd(WHO_COLUMNS)} ${what}`;
}

const short = (id: string): string => id.slice(0, ID_CHARACTERS);
const nameOf = (party: BusParty): string => (party === 'manager' ? 'manager' : party.name);

/** Who and what; undefined for what is no change of state. */
function describe(happening: Happening): readonly [string, string] | undefined {
  switch (happening.kind) {
    case 'started':
    case 'killed':
    case 'suspended':
    case 'resumed': {
      const { terminal, kind } = happening;
      return [terminal.name, terminal.isClone ? `${kind}, a clone` : kind];
    }
    case 'managerStarted':
      return ['manager', 'started'];
    case 'managerKilled':
      return ['manager', 'killed'];
    case 'brokerStarted':
      return ['broker', 'started'];
    case 'brokerKilled':
      return ['broker', 'killed'];
    case 'called': {
      const { terminal, callee, service, want, isPermitted } = happening;
      const bytes = want.bytes === undefined ? '' : `, ${want.bytes} B`;
      const may = isPermitted ? 'permitted' : 'not permitted';
      return [terminal.name, `calls ${callee} for ${service}${bytes} (${may})`];
    }
    case 'event':
      return eventLine(happening.terminal.name, happening.event);
    case 'listRead':
      return [happening.terminal.name, happening.isReadable ? 'reads its list' : 'cannot read it'];
    case 'listEdited':
      return [happening.terminal.name, `list changed about ${happening.caller.name}`];
    case 'ownerAnswered': {
      const { terminal, question, approved } = happening;
      return [terminal.name, `owner says ${approved ? 'yes' : 'no'} to ${question.caller.name}`];
    }
    case 'loggedIn':
    case 'linkGone':
      return [nameOf(happening.party), happening.kind === 'loggedIn' ? 'logged in' : 'link gone'];
    case 'loginRefused':
      return [nameOf(happening.party), `login refused: ${happening.why}`];
    case 'forbidden':
      return [nameOf(happening.party), `may not publish ${happening.topic}`];
    case 'change': {
      const { event, session } = happening.change;
      const why = session.reason === undefined ? '' : ` (${session.reason})`;
      return ['manager', `${event} ${short(session.session)}${why}`];
    }
    case 'alarm':
      return ['manager', `alarm: ${happening.name} is a clone`];
    case 'operatorEnd':
      return ['operator', `ends ${short(happening.session)}`];
    case 'revoked':
      return ['operator', `revoked ${happening.terminal.name}`];
    case 'calm':
      return ['world', 'the faults are over'];
    default:
      return undefined;
  }
}

function eventLine(who: string, event: TerminalEvent): readonly [string, string] | undefined {
  switch (event.kind) {
    case 'registered':
      return [who, 'registered'];
    case 'registerRefused':
      return [who, `registration refused: ${event.code}`];
    case 'callFailed':
      return [who, `call ${event.call} failed: ${event.why}`];
    case 'introduced': {
      const { session, peer, terms, service } = event;
      const bytes = terms.bytes === undefined ? '' : `, ${terms.bytes} B`;
      return [
        who,
        `introduced ${short(session)} to ${peer.name} for ${service}: ${terms.seconds} s${bytes}`,
      ];
    }
    case 'peerChanged':
      return [who, `${event.name} shows another ID`];
    case 'turnedAway':
    case 'listUnreadable':
      return [who, `${event.kind} ${event.caller}`];
    case 'extended':
      return [who, `extended ${short(event.session)} to ${event.seconds} s`];
    case 'extensionRefused':
      return [who, `not extended ${short(event.session)}`];
    case 'ended': {
      const { session, reason, counts } = event;
      const { sentBytes, receivedBytes } = counts;
      return [who, `ended ${short(session)}: ${reason}, ${sentBytes} B out, ${receivedBytes} B in`];
    }
    case 'talk': {
      const inner = event.event;
      if (inner.kind === 'established') return [who, `established ${short(event.session)}`];
      if (inner.kind === 'path') return [who, `another path ${short(event.session)}`];
      return undefined;
    }
    case 'way': {
      const { session, path } = event;
      return [who, `goes ${event.class} ${short(session)} by ${path.host}:${path.port}`];
    }
    case 'reintroduced':
      return [who, `reintroduced ${short(event.session)} by ${event.by}`];
    case 'searching':
      return [who, `searches at ${event.address} ${short(event.session)}`];
    case 'relayLost':
      return [who, `lost the relay of ${short(event.session)}: ${event.says}`];
    default:
      event satisfies never;
      return undefined;
  }
}
