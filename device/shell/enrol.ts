// Enrolment (design §3): a ticket becomes a name, a membership and the knowledge whom to trust; a
// membership that ran out while the terminal was off is renewed at the same place. Over TLS to the
// very key that the ticket names; plain HTTP on loopback only, where the server runs without TLS.

import { sameBytes } from '../../protocol/bytes.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import { EXIT, NakodoError } from '../../protocol/errors.ts';
import {
  makeEnrolRequest,
  MEMBERSHIP_NONCE_BYTES,
  makeMembershipRequest,
  openEnrolResponse,
  openMembershipResponse,
} from '../../protocol/identity/enrolment.ts';
import { type Membership, openMembership } from '../../protocol/identity/membership.ts';
import { type TicketFault, parseTicket } from '../../protocol/identity/ticket.ts';
import type { Name } from '../../protocol/ids.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { refuseIfAnswered } from '../../protocol/io/local-socket.ts';
import { type Rng, randomBytes } from '../../protocol/random.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { type Enrolment, type Identity, openHome, ownIdentity, saveEnrolment } from './home.ts';
import { machineMark } from './machine-mark.ts';
import { ServerTrust } from './server-trust.ts';

/** What is wrong with a text that is no ticket, and what to do about it. */
export const TICKET_FAULTS: Readonly<Record<TicketFault, readonly [string, string]>> = {
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
  /** What tells this machine from its clones; default: see machine-mark.ts. */
  readonly machine?: string | undefined;
}

/**
 * Redeems a ticket and keeps what comes of it in the home; the terminal's keys are made here, if it
 * has none of its own yet. Whether a ticket has expired is the server's to say: a terminal without
 * a clock cannot know.
 * @throws NakodoError as the server says it (`ticket-invalid`, `name-taken`, `revoked` …),
 *   `server-unreachable` (exit 5), `server-untrusted`, `plain-not-loopback`, `already-running`, or
 *   what files say.
 */
export async function enrol(
  options: EnrolOptions,
): Promise<{ readonly name: Name; readonly id: string }> {
  const { suite, rng } = options;
  const inside = parseTicket(options.ticket);
  if (typeof inside === 'string') {
    const [message, next] = TICKET_FAULTS[inside];
    throw new NakodoError(inside, message, next, EXIT.usage);
  }
  const { url, managerKey, agreementKey, pin, secret } = inside;
  const home = await openHome(options.home);
  // An agent at work has its enrolment in memory, and writes it over this one when it renews it.
  await refuseIfAnswered(home.socket);
  const identity = await ownIdentity(home, {
    suite,
    rng,
    machine: options.machine ?? (await machineMark(suite)),
  });
  const trust = new ServerTrust({ suite, managerKey, enrolUrl: url, ticketPin: pin });
  const { keys, signingKey } = identity;
  const body = makeEnrolRequest(signingKey, {
    url,
    secret,
    keys,
    name: options.name ?? inside.name,
  });
  const answer = await trust.post(body).catch((error: unknown) => {
    throw whyInvalid(error, inside.expiresAt);
  });
  const response = openEnrolResponse(suite, answer, { managerKey, ed25519: keys.ed25519 });
  if (response === undefined || !sameBytes(response.agreementKey, agreementKey)) {
    throw trust.untrusted();
  }
  if (response.serverKeys !== undefined) trust.learn(response.serverKeys);
  // Without a statement of its own the next connection would know no key at all.
  if (pin !== undefined && trust.statement === undefined) throw trust.untrusted();
  const { name, brokerUrl, membership } = response;
  await saveEnrolment(home, {
    name,
    managerKey,
    agreementKey,
    brokerUrl,
    enrolUrl: url,
    membership,
    serverKeys: trust.statement,
  });
  return { name, id: identity.id };
}

/**
 * The server's one answer to a ticket that it does not take, told apart by what stands in the
 * ticket, if this machine's clock can be believed; any other error as it is.
 */
function whyInvalid(error: unknown, expiresAt: number): unknown {
  if (!(error instanceof NakodoError) || error.code !== 'ticket-invalid') return error;
  const expiry = expiresAt * MS_PER_SECOND;
  if (new Clock().wall() < expiry) return error;
  const when = new Date(expiry).toISOString().replace(/\.\d+Z$/, 'Z');
  return new NakodoError('ticket-expired', `the ticket expired at ${when}`, error.next, error.exit);
}

/**
 * Fetches a new membership for a terminal that was off for longer than the old one lasted, or whose
 * clock is wrong: `issuedAt` is the server's time. Only an answer to this very request counts.
 * @throws NakodoError as the server says it (`revoked`, `not-enrolled`), `server-unreachable` …
 */
export async function renewMembership(
  { managerKey, enrolUrl }: Enrolment,
  identity: Identity,
  tools: { readonly suite: CryptoSuite; readonly rng: Rng; readonly trust: ServerTrust },
): Promise<{ readonly bytes: Uint8Array; readonly membership: Membership }> {
  const { suite, rng, trust } = tools;
  const { keys, signingKey } = identity;
  const nonce = randomBytes(rng, MEMBERSHIP_NONCE_BYTES);
  const request = makeMembershipRequest(signingKey, { url: enrolUrl, keys, nonce });
  const answer = await trust.post(request);
  const bytes = openMembershipResponse(suite, answer, { managerKey, nonce });
  const membership = bytes && openMembership(suite, managerKey, bytes);
  if (bytes === undefined || membership?.device !== identity.id) throw trust.untrusted();
  return { bytes, membership };
}
