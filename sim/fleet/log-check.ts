// The session manager's own log, read when a fleet's calls are over: it has to verify, and every
// introduction in it has to be one that the policy permits. A third witness, beside both ends of
// each call, and one that sees introductions which no caller heard of.

import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { askServer } from '../../cli/ask.ts';
import { readManagerKey } from '../../cli/manager-key.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { wallMs } from '../../protocol/time.ts';
import { type LogEntry, decodeLogEntry } from '../../session-manager/log.ts';
import { LogVerifier } from '../../session-manager/log-verify.ts';
import { LogReader } from '../../session-manager/shell/log-file.ts';
import { FLEET_LIMITS } from './limits.ts';
import type { FleetPlan } from './plan.ts';

/** What the log says. */
export interface LogCheck {
  readonly isVerified: boolean;
  /** Why not, or undefined. */
  readonly why: string | undefined;
  readonly entries: number;
  /** Talks that began, and those of them that ended. */
  readonly begun: number;
  readonly ended: number;
  /** Ends by reason. */
  readonly reasons: Readonly<Record<string, number>>;
  /** Introductions that the policy forbids: has to be 0. */
  readonly forbidden: number;
  /** The first of them: who, whom, what for. */
  readonly words: readonly string[];
}

const LOOKS_MAX = 5;
const LOOK_EVERY_MS = 500;

/** Minutes of local time ahead of UTC: a policy's `until` is local. */
const offsetMinutes = (wall: number): number => -new Date(wall).getTimezoneOffset();

/** Reads and verifies the log of a running server. @throws NakodoError if it cannot be asked. */
export async function checkLog(home: string, plan: FleetPlan): Promise<LogCheck> {
  const managerKey = await readManagerKey(join(home, 'manager.pub'));
  const reading = new Reading(plan, managerKey);
  const reader = new LogReader(reading, 'head');
  await askServer(
    home,
    { op: 'exportLog', use: 'head' },
    {
      onData: (bytes) => {
        reader.take(bytes);
      },
    },
  );
  reader.end();
  return reading.check();
}

/** The same, a few times while talks have not all ended there: end notices are on their way. */
export async function settledLog(home: string, plan: FleetPlan): Promise<LogCheck> {
  let check = await checkLog(home, plan);
  for (let looks = 1; looks < LOOKS_MAX && check.ended < check.begun; looks++) {
    await delay(LOOK_EVERY_MS);
    check = await checkLog(home, plan);
  }
  return check;
}

/** Verifies as always, and looks at each entry on the way. */
class Reading extends LogVerifier {
  readonly #plan: FleetPlan;
  readonly #reasons = new Map<string, number>();
  readonly #words: string[] = [];
  #begun = 0;
  #ended = 0;
  #forbidden = 0;

  constructor(plan: FleetPlan, managerKey: Uint8Array) {
    super({ suite: nodeSuite, managerKey });
    this.#plan = plan;
  }

  override add(encoded: Uint8Array): boolean {
    const entry = decodeLogEntry(encoded);
    if (entry?.kind === 'introduced') this.#onIntroduced(entry);
    if (entry?.kind === 'ended') {
      this.#ended += 1;
      this.#reasons.set(entry.reason, (this.#reasons.get(entry.reason) ?? 0) + 1);
    }
    return super.add(encoded);
  }

  check(): LogCheck {
    const verdict = this.finish();
    return {
      isVerified: verdict.ok,
      why: verdict.ok ? undefined : `${verdict.why} (entry ${verdict.at})`,
      entries: verdict.ok ? verdict.entries : verdict.at,
      begun: this.#begun,
      ended: this.#ended,
      reasons: Object.fromEntries(this.#reasons),
      forbidden: this.#forbidden,
      words: this.#words,
    };
  }

  #onIntroduced(entry: LogEntry & { readonly kind: 'introduced' }): void {
    this.#begun += 1;
    const { callerName, calleeName, service, wall } = entry;
    const caller = this.#plan.indexOf(callerName);
    const callee = this.#plan.indexOf(calleeName);
    const isKnown = caller !== undefined && callee !== undefined;
    const at = { wallMs: wallMs(wall), offsetMinutes: offsetMinutes(wall) };
    if (isKnown && this.#plan.verdict({ caller, callee, service }, at) !== 'forbidden') return;
    this.#forbidden += 1;
    if (this.#words.length >= FLEET_LIMITS.faultsKept) return;
    this.#words.push(`${callerName} → ${calleeName} (${service})`);
  }
}
