// The doctor's round: learns what all checks share, then has each look, in the order of the report,
// one after the other, so that a person sees what it is at.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkEnrolment, homeAt, loadEnrolment, loadIdentity } from '../../device/shell/home.ts';
import { NakodoError } from '../../protocol/errors.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { terminalName } from '../../protocol/typed-names.ts';
import { askAgent } from '../ask.ts';
import { SYSTEM_HOME, isOwnHome, terminalFolder } from '../home.ts';
import { type Finding, type Patient, examined } from './finding.ts';
import { HOME_CHECKS } from './home-checks.ts';
import { MACHINE_CHECKS } from './machine-checks.ts';
import { SERVER_CHECKS } from './server-checks.ts';

const CONFIG_FILE = 'agent.toml';
/** Of the package. */
const SYSTEM_CONFIG = '/etc/nakodo/agent.toml';

/** What is to be examined, as it was typed. */
export interface ExamineOptions {
  readonly home?: string | undefined;
  readonly peer?: string | undefined;
  readonly config?: string | undefined;
  /** Milliseconds to wait for the peer's consent. */
  readonly waitMs?: number | undefined;
}

/** A finding, with the name of its check. */
export interface Examined extends Finding {
  readonly check: string;
}

/** Looks at everything, one finding after the other. @throws UsageError for a bad `peer`. */
export async function* examine(options: ExamineOptions): AsyncGenerator<Examined, void, undefined> {
  const patient = await patientOf(options);
  for (const check of [...HOME_CHECKS, ...SERVER_CHECKS, ...MACHINE_CHECKS]) {
    yield { check: check.name, ...(await examined(check, patient)) };
  }
}

/** What all checks share: what the agent says, and what the files do. */
async function patientOf(options: ExamineOptions): Promise<Patient> {
  const folder = terminalFolder(options.home);
  const isOwn = isOwnHome(folder);
  const home = homeAt(folder);
  const asked = await orError(() => askAgent(options.home, { op: 'status' }));
  const isKnown = !(asked instanceof NakodoError);
  const status = isKnown ? (asked as unknown as Patient['status']) : undefined;
  const read = await orError(async () => {
    if (!isOwn) return undefined;
    const enrolment = await loadEnrolment(home);
    if (enrolment === undefined) return undefined;
    const identity = await loadIdentity(home, nodeSuite);
    checkEnrolment(home, nodeSuite, identity, enrolment);
    return { identity, enrolment };
  });
  const { identity, enrolment } = read instanceof NakodoError ? {} : (read ?? {});
  const isService = folder === SYSTEM_HOME && existsSync(SYSTEM_CONFIG);
  const usual = isService ? SYSTEM_CONFIG : join(folder, CONFIG_FILE);
  return {
    home,
    isOwn,
    status,
    agentError: isKnown ? undefined : asked,
    identity,
    enrolment,
    enrolmentError: read instanceof NakodoError ? read : undefined,
    configPath: options.config ?? status?.settings ?? usual,
    brokerUrl: status?.broker.url ?? enrolment?.brokerUrl,
    peer: options.peer === undefined ? undefined : terminalName(options.peer),
    waitMs: options.waitMs,
    option: options.home,
  };
}

async function orError<T>(work: () => Promise<T>): Promise<T | NakodoError> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof NakodoError) return error;
    throw error;
  }
}
