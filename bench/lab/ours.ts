// Our own transport in a place: the server on the receiver's side, terminals enrolled in pairs, a
// caller on each sender's side; all of a checkout that is built, this one or an earlier one.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { atExit } from '../../sim/lab/clean-up.ts';
import type { OurPlan } from '../transport-end.ts';
import { Driver, type Launch } from '../../sim/lab/drivers.ts';
import type { FlowKind } from './flow.ts';
import { type Side, runOn } from '../../sim/lab/namespaces.ts';
import type { Place } from './places.ts';

const END = join(dirname(import.meta.dirname), 'transport-end.js');

/** What a flow of ours may be told: see OurPlan. */
type OurOptions = Pick<OurPlan, 'connection' | 'isIdle' | 'mediaPerSecond' | 'traceFolder'>;

/** A server with pairs of terminals that may call each other. */
export class OurSystem {
  readonly #folder: string;
  readonly #root: string;
  readonly #place: Place;
  readonly #server: Driver;
  readonly #forget: () => void;

  private constructor(folder: string, root: string, place: Place, server: Driver) {
    this.#folder = folder;
    this.#root = root;
    this.#place = place;
    this.#server = server;
    this.#forget = atExit(() => rmSync(folder, { recursive: true, force: true }));
  }

  /** Starts the server of the checkout in `root` and enrols `pairs` of terminals. */
  static async start(place: Place, root: string, pairs = 1): Promise<OurSystem> {
    const folder = mkdtempSync(join(tmpdir(), 'nk-ours-'));
    const main = join(root, 'out', 'cli', 'main.js');
    const home = join(folder, 's');
    const ports = ['--mqtt-port', '0', '--http-port', '0', '--listen', place.b.host];
    const args = [main, 'serve', '--home', home, ...ports, '--json'];
    const server = new Driver({ side: place.b, program: process.execPath, args });
    const system = new OurSystem(folder, root, place, server);
    try {
      await server.next('ready');
      const run = (side: Side, ...words: readonly string[]): string =>
        runOn(side, process.execPath, [main, ...words, '--json']);
      for (let pair = 0; pair < pairs; pair++) {
        for (const [name, side] of [
          [`CALLER${pair}`, place.a],
          [`CALLEE${pair}`, place.b],
        ] as const) {
          const said = run(place.b, 'ticket', '--name', name, '--home', home);
          const { ticket } = JSON.parse(said) as { ticket: string };
          run(side, 'enroll', ticket, '--home', join(folder, name));
        }
        run(place.b, 'allow', `CALLER${pair}`, '--home', join(folder, `CALLEE${pair}`));
      }
      return system;
    } catch (error) {
      await system.stop();
      throw error;
    }
  }

  /** Flows from the caller to the callee of a pair. */
  flows(options: OurOptions = {}, pair = 0): FlowKind {
    const homes = { send: `CALLER${pair}`, receive: `CALLEE${pair}` };
    return {
      launch: (role, { host, bytes }, hello): Launch => {
        const home = join(this.#folder, homes[role]);
        const plan: OurPlan = {
          host,
          bytes,
          root: this.#root,
          home,
          to: homes.receive,
          ...options,
        };
        const side = role === 'send' ? this.#place.a : this.#place.b;
        const words = [JSON.stringify(plan), JSON.stringify(hello ?? {})];
        return { side, program: process.execPath, args: [END, role, ...words] };
      },
    };
  }

  async stop(): Promise<void> {
    await this.#server.end();
    this.#forget();
  }
}
