// What an agent is made of, as its home on disk and its options say. Read once when it starts, in
// the order in which its owner wants to hear what is wrong; nothing has begun when it throws.

import type { CryptoSuite } from '../../protocol/crypto.ts';
import type { ConnectionConfig } from '../../protocol/data/connection-types.ts';
import { NakodoError, UsageError, errorCode, errorMessage } from '../../protocol/errors.ts';
import { CorrectedClock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { damagedFile, removeLeftovers } from '../../protocol/io/files.ts';
import { refuseIfAnswered } from '../../protocol/io/local-socket.ts';
import type { Log } from '../../protocol/io/log.ts';
import { brokerAddress } from '../../protocol/io/mqtt-link.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { TraceFolder } from '../../protocol/io/trace-file.ts';
import type { RelayPolicy } from '../../protocol/address.ts';
import type { Pin, TerminalInput } from '../terminal-types.ts';
import { Terminal } from '../terminal.ts';
import type { AgentOptions } from './agent-types.ts';
import { Approvals } from './approvals.ts';
import { DiskTroubles } from './disk-troubles.ts';
import { EndsStore } from './ends-store.ts';
import { type Enrolment, type Home, type Identity } from './home.ts';
import { checkEnrolment, loadEnrolment, loadIdentity, openHome } from './home.ts';
import { PinsStore } from './pins-store.ts';

/** The parts, loaded; `restore` is the terminal's first input. */
export interface AgentParts {
  readonly home: Home;
  readonly identity: Identity;
  readonly enrolment: Enrolment;
  readonly connection: Partial<ConnectionConfig>;
  readonly suite: CryptoSuite;
  readonly clock: CorrectedClock;
  readonly log: Log;
  readonly pins: PinsStore;
  readonly approvals: Approvals;
  readonly ends: EndsStore;
  readonly disk: DiskTroubles;
  readonly traces: TraceFolder | undefined;
  readonly restore: TerminalInput & { readonly kind: 'restore' };
}

/**
 * Opens the home and reads what it holds.
 * @throws NakodoError `already-running`, `not-enrolled`, `file-damaged`, `plain-not-loopback`,
 *   `bad-broker-url` …
 */
export async function loadParts(options: AgentOptions, log: Log): Promise<AgentParts> {
  const home = await openHome(options.home);
  // Before the ends on disk are read: those of an agent at work would be reported as restarted.
  await refuseIfAnswered(home.socket);
  for (const folder of [home.folder, home.ends]) await removeLeftovers(folder);
  const suite = options.suite ?? nodeSuite;
  const clock = options.clock ?? new CorrectedClock();
  const enrolment = await loadEnrolment(home);
  if (enrolment === undefined) {
    throw new NakodoError(
      'not-enrolled',
      `the terminal in ${options.home} has no name yet`,
      `ask the operator for a ticket, then: nakodo enroll TICKET --home ${options.home}`,
    );
  }
  const identity = await loadIdentity(home, suite);
  checkEnrolment(home, suite, identity, enrolment);
  // Before anything begins: it throws for a URL that cannot be meant.
  brokerAddress(options.brokerUrl ?? enrolment.brokerUrl);
  const connection = options.connection ?? {};
  const disk = new DiskTroubles();
  const onError = (error: unknown): void => {
    disk.failed('pins', error);
    log.error('pins-not-saved', { why: errorMessage(error) });
  };
  const pins = new PinsStore(home.pins, onError, () => disk.written('pins'));
  const known: readonly Pin[] = await pins.load();
  const approvals = new Approvals(home.approvals, clock, log, disk);
  await approvals.load();
  const ends = new EndsStore(home.ends);
  const records = await ends.load(log);
  const restore = { kind: 'restore', records, pins: known } as const;
  const traces = await openTraces(options.traceFolder, log);
  const read = { home, identity, enrolment, connection, suite, clock, log };
  return { ...read, pins, approvals, ends, disk, traces, restore };
}

async function openTraces(folder: string | undefined, log: Log): Promise<TraceFolder | undefined> {
  if (folder === undefined) return undefined;
  const onTrouble = (error: unknown): void =>
    log.warn('trace-not-written', { code: errorCode(error), why: errorMessage(error) });
  return TraceFolder.open({ folder, onTrouble });
}

/**
 * Their core.
 * @throws NakodoError `file-damaged` for an agreement key that is none; UsageError for a
 *   configuration of talks that cannot be meant.
 */
export function terminalOf(
  parts: AgentParts,
  {
    pollSeconds,
    relay,
  }: { readonly pollSeconds?: number | undefined; readonly relay: RelayPolicy },
): Terminal {
  const { home, identity, enrolment, connection, suite, traces } = parts;
  try {
    return new Terminal({
      id: identity.id,
      name: enrolment.name,
      managerKey: enrolment.managerKey,
      managerAgreementKey: enrolment.agreementKey,
      signingKey: identity.signingKey,
      localKey: identity.dhKey,
      suite,
      rng: entropy,
      connection,
      traceOf: traces && ((session, role) => traces.trace(session, role)),
      relay,
      ...(pollSeconds === undefined ? {} : { pollSeconds }),
    });
  } catch (error) {
    // Of all that may be wrong only this key comes from the file; the rest is the caller's to mend.
    if (!(error instanceof UsageError) || error.code !== 'bad-manager-key') throw error;
    throw damagedFile(home.enrolment, "its manager's agreement key is none");
  }
}
