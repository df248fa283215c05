// One terminal of a fleet: a real agent with a home of its own, and the life that its profile makes
// it lead: it sleeps between polls, its line is cut, it is switched off and on.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent } from '../../device/agent.ts';
import { formatListFile } from '../../device/list-file.ts';
import { enrol } from '../../device/shell/enrol.ts';
import { loadEnrolment, openHome } from '../../device/shell/home.ts';
import type { Name } from '../../protocol/ids.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { type Log, silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { type Rng, randomBelow, randomFraction } from '../../protocol/random.ts';
import type { Calls } from './calls.ts';
import { Line } from './line.ts';
import type { FleetPlan, PlannedTerminal } from './plan.ts';

/** Milliseconds that a flaky terminal is there on average, and that it is gone: from, and more. */
const FLAKY_UP_MS = 8_000;
const FLAKY_DOWN_MS = 500;
const FLAKY_DOWN_MORE_MS = 2_500;

interface FleetTerminalOptions {
  readonly plan: FleetPlan;
  /** Its place in the plan. */
  readonly at: number;
  /** Homes are made below it. */
  readonly folder: string;
  readonly pollSeconds: number;
  readonly calls: Calls;
  /** Its link to the broker was lost, or did not come about: why. */
  readonly onLinkDown?: (code: string) => void;
}

/** A terminal: enrolled once, started, perhaps stopped and started again. */
export class FleetTerminal {
  readonly at: number;
  readonly home: string;
  readonly planned: PlannedTerminal;
  readonly #options: FleetTerminalOptions;
  readonly #log: Log;
  #agent: Agent | undefined;
  #line: Line | undefined;
  #isRegistered = false;

  constructor(options: FleetTerminalOptions) {
    const { plan, at, folder } = options;
    this.#options = options;
    this.at = at;
    this.planned = plan.terminals[at];
    // By number: with a long name the path of the agent's socket would not fit.
    this.home = join(folder, `t${at}`);
    const onLine: Log['warn'] = (event, fields) => {
      if (event !== 'link-down') return;
      this.#isRegistered = false;
      options.onLinkDown?.(String(fields?.code));
    };
    this.#log = {
      ...silentLog,
      info: (event) => {
        if (event === 'registered') this.#isRegistered = true;
      },
      // Each further try in vain is a line for debugging.
      debug: onLine,
      warn: onLine,
    };
  }

  /** Both servers know it; one that polls may be asleep. */
  get isRegistered(): boolean {
    return this.#isRegistered;
  }

  /** Undefined while it is switched off. */
  get agent(): Agent | undefined {
    return this.#agent;
  }

  /** Redeems the ticket, and puts the allow-list in place. */
  async enrol(ticket: string): Promise<void> {
    const { plan, at } = this.#options;
    const name = this.planned.name as Name;
    await enrol({ home: this.home, ticket, name, suite: nodeSuite, rng: entropy });
    await writeFile(join(this.home, 'allow-list.toml'), formatListFile(plan.listOf(at)));
    if (this.planned.profile !== 'flaky') return;
    const enrolment = await loadEnrolment(await openHome(this.home));
    if (enrolment !== undefined) this.#line = await Line.open(enrolment.brokerUrl);
  }

  /** Starts its agent, which registers by itself. */
  async start(): Promise<void> {
    const { pollSeconds, calls, at } = this.#options;
    const agent = await Agent.start({
      home: this.home,
      log: this.#log,
      ...(this.planned.profile === 'polling' ? { pollSeconds } : {}),
      ...(this.#line ? { brokerUrl: this.#line.url } : {}),
    });
    calls.takeIncoming(agent, at);
    this.#agent = agent;
  }

  /** Questions that its agent declined for want of room. */
  get declined(): number {
    return this.#agent?.status().counters.askFlood ?? 0;
  }

  /** Stops its agent, if it runs. */
  async stop(): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    this.#isRegistered = false;
    await agent?.stop();
  }

  /** A flaky terminal's life: there for a while, then cut off or switched off. */
  async flicker(rng: Rng, signal: AbortSignal): Promise<void> {
    const wait = (ms: number): Promise<unknown> =>
      delay(ms, undefined, { signal }).catch(() => undefined);
    while (!signal.aborted) {
      await wait(-Math.log(1 - randomFraction(rng)) * FLAKY_UP_MS);
      if (signal.aborted) return;
      const downMs = FLAKY_DOWN_MS + randomBelow(rng, FLAKY_DOWN_MORE_MS);
      if (randomBelow(rng, 2) === 0) {
        this.#line?.cut();
        await wait(downMs);
        this.#line?.mend();
      } else {
        await this.stop();
        await wait(downMs);
        await this.start();
      }
    }
  }
}
