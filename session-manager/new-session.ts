// A session as it is made when the callee said yes and both addresses are known [44]: its ID, its
// key, what is granted, and what of it goes to disk before anybody is told.

import type { ListVerdict } from '../protocol/consent/allow-list.ts';
import { grantFor } from '../protocol/consent/allow-list.ts';
import type { Terms } from '../protocol/control/messages.ts';
import { KEY_BYTES } from '../protocol/crypto.ts';
import { encodeGrant } from '../protocol/grant.ts';
import { signed } from '../protocol/identity/signed.ts';
import { randomSessionId } from '../protocol/ids.ts';
import { randomBytes } from '../protocol/random.ts';
import type { Micros } from '../protocol/time.ts';
import type { Notice } from './address-notices.ts';
import { type Signed, consentProof } from './consent.ts';
import type { Context } from './context.ts';
import type { LogFact } from './log.ts';
import type { Device } from './names.ts';
import { RECORD, type SessionRecord } from './records.ts';

/** What a session is made of. */
interface Agreed {
  readonly caller: Device;
  readonly callee: Device;
  readonly service: string;
  readonly want: Terms;
  readonly answer: {
    readonly terms: Extract<ListVerdict, { allowed: true }>;
    readonly request: Signed;
    readonly verdict: Signed;
  };
}

/** A session that is nowhere yet. */
interface NewSession {
  readonly row: SessionRecord;
  /** For the log, with what caller and callee signed. */
  readonly entry: LogFact;
  readonly notice: Notice;
}

/**
 * Makes session ID, key [claim 16] and expiry [S2007, claim 10]: in time [claim 14], in bytes
 * [claim 15] or both, the least of what caller, callee and operator say. The grant is signed once.
 */
export function makeSession(context: Context, now: Micros, agreed: Agreed): NewSession {
  const { rng, key, policy, suite } = context.options;
  const { caller, callee, service, want, answer } = agreed;
  const terms = grantFor(want, answer.terms, policy);
  const facts = {
    session: randomSessionId(rng),
    callerId: caller.id,
    calleeId: callee.id,
    callerName: caller.name,
    calleeName: callee.name,
    service,
    seconds: terms.seconds,
    bytes: terms.bytes,
  };
  const verdict = suite.blake2s(answer.verdict.statement);
  const grant = encodeGrant({ version: 1, ...facts, verdict });
  const signature = signed(key, 'grant', grant);
  const begun = context.wall.at(now);
  const beginning = { begun, revision: 0, forced: false, closed: false };
  return {
    row: { ...RECORD, ...facts, ...beginning },
    entry: { kind: 'introduced', ...facts, ...consentProof(answer.request, answer.verdict) },
    notice: { grant, signature, key: randomBytes(rng, KEY_BYTES) },
  };
}
