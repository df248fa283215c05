// What the doctor finds, one line a check: fine, worth a look, broken, or not checked, and what to
// do about it; and the patient, which every check is given. A check that cannot look says so: it
// never calls fine what it has not seen.

import type { RelaySource } from '../../device/services/agent-settings.ts';
import type { AgentStatus } from '../../device/shell/agent-types.ts';
import type { Enrolment, Home, Identity } from '../../device/shell/home.ts';
import { type NakodoError, errorMessage } from '../../protocol/errors.ts';

/** How a check ended. */
export type Verdict = 'ok' | 'warn' | 'fail' | 'unchecked';

/** One line of the doctor's. */
export interface Finding {
  readonly verdict: Verdict;
  /** What is so. */
  readonly says: string;
  /** What to do; where nothing is wrong, nothing. */
  readonly next?: string | undefined;
}

/** What is known before the first check. */
export interface Patient {
  readonly home: Home;
  /** May this user read and write in the home, as the agent does? */
  readonly isOwn: boolean;
  /** What the running agent says; undefined: none runs, or it is not for us (`agentError`). */
  readonly status: PatientStatus | undefined;
  readonly agentError: NakodoError | undefined;
  /** As far as the files are there, readable and whole. */
  readonly identity: Identity | undefined;
  readonly enrolment: Enrolment | undefined;
  /** Why they are not. */
  readonly enrolmentError: NakodoError | undefined;
  /** The owner's settings. */
  readonly configPath: string;
  /** The broker's, as far as it is known. */
  readonly brokerUrl: string | undefined;
  /** A peer to try UDP with. */
  readonly peer: string | undefined;
  /** Milliseconds that it has to agree. */
  readonly waitMs: number | undefined;
  /** `--home`, as it was typed. */
  readonly option: string | undefined;
}

/** A status as the agent's socket gives it. */
interface PatientStatus extends AgentStatus {
  /** The path of its settings. */
  readonly settings?: string;
  readonly relayBy?: RelaySource | undefined;
  readonly troubles: AgentStatus['troubles'] & { readonly services?: string | undefined };
}

/** One check; its name stands at the beginning of its line. */
export interface Check {
  readonly name: string;
  readonly look: (patient: Patient) => Promise<Finding> | Finding;
}

/** All is well. */
export const ok = (says: string): Finding => ({ verdict: 'ok', says });
/** It works; somebody should look at it. */
export const warn = (says: string, next: string): Finding => ({ verdict: 'warn', says, next });
/** It does not work. */
export const fail = (says: string, next: string): Finding => ({ verdict: 'fail', says, next });
/** Nobody looked. */
export const unchecked = (says: string, next?: string): Finding => ({
  verdict: 'unchecked',
  says,
  next,
});
/** Broken, in the words of an error. */
export const failed = ({ message, next }: NakodoError): Finding => fail(message, next);

/** Runs a check; what it throws is a finding as well. */
export async function examined(check: Check, patient: Patient): Promise<Finding> {
  try {
    return await check.look(patient);
  } catch (error) {
    return fail(`could not be looked at: ${errorMessage(error)}`, 'see the message');
  }
}
