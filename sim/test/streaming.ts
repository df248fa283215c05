// Talks with streams that flow until the talk ends, and the hand of somebody who tries the doors of
// both servers with what lies in a terminal's home.

import type { Agent } from '../../device/agent.ts';
import { renewMembership } from '../../device/shell/enrol.ts';
import { type Enrolment, type Identity } from '../../device/shell/home.ts';
import { loadEnrolment, loadIdentity, openHome } from '../../device/shell/home.ts';
import { ServerTrust } from '../../device/shell/server-trust.ts';
import type { SessionEnd } from '../../device/shell/session-types.ts';
import type { Session } from '../../device/shell/session.ts';
import type { Terms } from '../../protocol/control/messages.ts';
import { errorCode } from '../../protocol/errors.ts';
import { TOKEN_NONCE_BYTES, makeToken } from '../../protocol/identity/token.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { openLink } from '../../protocol/io/mqtt-link.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBytes } from '../../protocol/random.ts';

const ROUND_BYTES = 4_096;
const MS_PER_SECOND = 1_000;

/** A talk whose stream is echoed, round after round. */
export interface Flow {
  readonly session: Session;
  /** Payload bytes that came back so far. */
  echoed(): number;
}

/** How and when an end saw its talk end; by performance.now(). */
export interface SeenEnd extends SessionEnd {
  readonly at: number;
}

/** Calls, and sends as fast as it is echoed, until the talk ends. */
export async function flow(caller: Agent, to: string, want: Terms = {}): Promise<Flow> {
  const session = await caller.call({ to, service: 'echo', want });
  const stream = session.openStream();
  const round = Buffer.alloc(ROUND_BYTES, 7);
  let echoed = 0;
  stream.on('data', (chunk: Buffer) => {
    const rounds = Math.floor(echoed / ROUND_BYTES);
    echoed += chunk.length;
    if (Math.floor(echoed / ROUND_BYTES) > rounds && !stream.destroyed) stream.write(round);
  });
  stream.write(round);
  return { session, echoed: () => echoed };
}

/** Takes every talk, echoes its streams, and remembers how each ended. */
export function echoing(agent: Agent): ReadonlyMap<string, Promise<SeenEnd>> {
  const ends = new Map<string, Promise<SeenEnd>>();
  agent.onIncoming((session) => {
    session.on('stream', (stream) => void stream.pipe(stream));
    ends.set(session.info.session, seenEnd(session));
  });
  return ends;
}

export async function seenEnd(session: Session): Promise<SeenEnd> {
  const end = await session.ended;
  return { ...end, at: performance.now() };
}

/** What lies in a home, in the hand of whoever has it. */
export interface Keys {
  readonly enrolment: Enrolment;
  readonly identity: Identity;
}

export async function keysIn(folder: string): Promise<Keys> {
  const home = await openHome(folder);
  const enrolment = await loadEnrolment(home);
  if (enrolment === undefined) throw new Error('not enrolled');
  return { enrolment, identity: await loadIdentity(home, nodeSuite) };
}

/** Logs in at the broker: 'in', or the code of what it was told, or of what went wrong. */
export async function knock({ enrolment, identity }: Keys): Promise<string> {
  const trust = new ServerTrust({ suite: nodeSuite, ...enrolment });
  const { managerKey: audience, membership, brokerUrl: url } = enrolment;
  const { promise, resolve } = answered();
  const link = openLink({
    url,
    isPinned: (pin) => trust.isPinned(pin),
    clientId: identity.id,
    username: 'terminal',
    password: (server) =>
      makeToken(identity.signingKey, {
        device: identity.id,
        audience,
        issuedAt: Math.floor(Date.now() / MS_PER_SECOND),
        nonce: randomBytes(entropy, TOKEN_NONCE_BYTES),
        membership,
        server,
      }),
    subscriptions: [],
    onUp: () => resolve('in'),
    onDown: ({ refusedCode, code }) =>
      resolve(refusedCode === undefined ? code : `refused ${refusedCode}`),
    onMessage: () => {},
  });
  const answer = await promise;
  await link.close();
  return answer;
}

/** Asks the manager for a new membership: 'renewed', or the code of its refusal. */
export async function renew({ enrolment, identity }: Keys): Promise<string> {
  const trust = new ServerTrust({ suite: nodeSuite, ...enrolment });
  try {
    await renewMembership(enrolment, identity, { suite: nodeSuite, rng: entropy, trust });
    return 'renewed';
  } catch (error) {
    return errorCode(error);
  }
}

function answered(): { readonly promise: Promise<string>; resolve: (answer: string) => void } {
  let settle: (answer: string) => void = () => {};
  const promise = new Promise<string>((resolve) => {
    settle = resolve;
  });
  return { promise, resolve: (answer) => settle(answer) };
}
