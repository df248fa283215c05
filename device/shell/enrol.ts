// Enrolment over HTTP (design §3): a ticket becomes a name and a membership; a membership that ran
// out while the terminal was off is renewed at the same place. Plain HTTP, so loopback only, until
// the server has a certificate to pin.

import type { CryptoSuite } from '../../protocol/crypto.ts';
import { EXIT, NakodoError, errorMessage } from '../../protocol/errors.ts';
import {
  makeEnrolRequest,
  makeMembershipRequest,
  openEnrolResponse,
} from '../../protocol/identity/enrolment.ts';
import { openMembership } from '../../protocol/identity/membership.ts';
import { type TicketFault, parseTicket } from '../../protocol/identity/ticket.ts';
import type { Name } from '../../protocol/ids.ts';
import type { Clock } from '../../protocol/io/clock.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import type { Rng } from '../../protocol/random.ts';
import { type Enrolment, type Identity, loadIdentity, openHome, saveEnrolment } from './home.ts';

/** Milliseconds for the server to answer an enrolment: chosen by us, a Pi signs slowly. */
const ANSWER_MS_MAX = 10_000;
const WALL_MS_PER_SECOND = 1_000;

const TICKET_FAULTS: Readonly<Record<TicketFault, readonly [string, string]>> = {
  'not-a-ticket': ['this is not a ticket', 'copy the whole text that `nakodo ticket` printed'],
  'ticket-damaged': [
    'a part of the ticket is missing or changed',
    'copy the whole text that `nakodo ticket` printed, or ask for a new one',
  ],
  'ticket-version': [
    'the ticket is from another release of nakodo',
    'bring this terminal and the server to the same release',
  ],
};

/** What enrolling needs. */
interface EnrolOptions {
  /** The home folder; made if it is not there. */
  readonly home: string;
  /** As the operator handed it over. */
  readonly ticket: string;
  /** The name that is asked for, where the ticket does not fix it. */
  readonly name: Name | undefined;
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  readonly clock: Clock;
}

/**
 * Redeems a ticket and keeps what comes of it in the home.
 * @throws NakodoError as the server says it (`ticket-used`, `name-taken` …), `ticket-expired`,
 *   `server-unreachable` (exit 5), `server-untrusted`, or what files say.
 */
export async function enrol(
  options: EnrolOptions,
): Promise<{ readonly name: Name; readonly id: string }> {
  const { suite, rng, clock } = options;
  const inside = parseTicket(options.ticket);
  if (typeof inside === 'string') {
    const [message, next] = TICKET_FAULTS[inside];
    throw new NakodoError(inside, message, next, EXIT.usage);
  }
  if (unixSeconds(clock) > inside.expiresAt) {
    const next = 'ask for a new one; if it is new, set the clock of this machine';
    throw new NakodoError('ticket-expired', 'the ticket has expired', next);
  }
  const home = await openHome(options.home);
  const identity = await loadIdentity(home, suite, rng);
  const body = makeEnrolRequest(identity.signingKey, {
    url: inside.url,
    secret: inside.secret,
    keys: identity.keys,
    name: options.name ?? inside.name,
  });
  const answer = await post(inside.url, body);
  const response = openEnrolResponse(suite, answer, {
    managerKey: inside.managerKey,
    ed25519: identity.keys.ed25519,
  });
  if (response === undefined) throw untrusted(inside.url);
  const { name, managerKey, brokerUrl, membership } = response;
  await saveEnrolment(home, { name, managerKey, brokerUrl, membership, enrolUrl: inside.url });
  return { name, id: identity.id };
}

/**
 * Fetches a new membership for a terminal that was off for longer than the old one lasted.
 * @throws NakodoError as the server says it (revoked, unknown), `server-unreachable`.
 */
export async function renewMembership(
  enrolment: Enrolment,
  identity: Identity,
  suite: CryptoSuite,
  clock: Clock,
): Promise<Uint8Array> {
  const { enrolUrl, managerKey } = enrolment;
  const body = makeMembershipRequest(identity.signingKey, {
    url: enrolUrl,
    keys: identity.keys,
    issuedAt: unixSeconds(clock),
  });
  const answer = await post(enrolUrl, body);
  const membership = openMembership(suite, managerKey, answer);
  if (membership?.device !== identity.id) throw untrusted(enrolUrl);
  return answer;
}

/** Wall time as tokens and memberships carry it. */
export function unixSeconds(clock: Clock): number {
  return Math.floor(clock.wall() / WALL_MS_PER_SECOND);
}

async function post(url: string, body: Uint8Array): Promise<Uint8Array> {
  refuseOpenNetwork(url);
  let response: Response;
  let answer: Uint8Array;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/cbor' },
      body: Uint8Array.from(body),
      redirect: 'error',
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    answer = await boundedBody(response);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw new NakodoError(
      'server-unreachable',
      `the server at ${url} does not answer: ${errorMessage(cause)}`,
      'check that it runs (nakodo serve) and that this machine reaches it',
      EXIT.unreachable,
    );
  }
  if (response.ok) return answer;
  throw serverError(response.status, answer);
}

async function boundedBody(response: Response): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    length += part.length;
    if (length > IO_LIMITS.smallFileBytesMax) throw new Error('its answer is too long');
    parts.push(part);
  }
  return Uint8Array.from(Buffer.concat(parts));
}

/** The server's own words {code, message, next}, as far as they are words. */
function serverError(status: number, answer: Uint8Array): NakodoError {
  let said: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(Buffer.from(answer).toString('utf8'));
    if (typeof parsed === 'object' && parsed !== null) said = parsed as Record<string, unknown>;
  } catch {
    // Not our server's answer; the status has to do.
  }
  const word = (value: unknown, otherwise: string): string =>
    typeof value === 'string' && !/\p{Cc}/u.test(value) ? value : otherwise;
  return new NakodoError(
    word(said.code, 'server-refused'),
    word(said.message, `the server refused (HTTP status ${status})`),
    word(said.next, 'ask the operator for a new ticket'),
  );
}

function untrusted(url: string): NakodoError {
  return new NakodoError(
    'server-untrusted',
    `what answers at ${url} is not the server that made the ticket`,
    'ask the operator for a new ticket, and whether the server was moved',
  );
}

/** Plain connections leave this machine never. @throws NakodoError `not-loopback`. */
export function refuseOpenNetwork(url: string): void {
  const host = URL.canParse(url) ? new URL(url).hostname : '';
  if (/^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(host)) return;
  throw new NakodoError(
    'not-loopback',
    `${url} is not on this machine, and this release does not encrypt the way there`,
    'use a server on 127.0.0.1 or ::1',
  );
}
