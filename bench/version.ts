// One built version of nakodo as it is measured: server, callee and caller, three processes on
// loopback, started as a user of that version would start them. Two of these can stand side by
// side, so that they are measured in turn on the same machine at the same time.

import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { Children, type Running } from '../cli/demo/children.ts';
import { cpuSeconds } from '../sim/lab/drivers.ts';
import { openServants } from './servants.ts';
import type { SetUps } from './set-up-driver.ts';

/** What some set-ups of one version took. */
export interface Measured extends SetUps {
  /** Microseconds of processor time that all three processes took; 0 where it cannot be known. */
  readonly allCpuMicros: number;
}

/** A version that runs. */
export class Version {
  readonly #children: Children;
  readonly #servants: readonly Running[];
  readonly #driver: ChildProcess;

  private constructor(children: Children, servants: readonly Running[], driver: ChildProcess) {
    this.#children = children;
    this.#servants = servants;
    this.#driver = driver;
  }

  /** Starts the version that is built in `root`; `folder`: an empty one for its homes. */
  static async start(root: string, folder: string): Promise<Version> {
    const children = new Children(join(root, 'out', 'cli', 'main.js'));
    try {
      const { running, callerHome } = await openServants(children, folder);
      const driver = fork(join(import.meta.dirname, 'set-up-driver.js'), [root, callerHome]);
      await said(driver);
      return new Version(children, running, driver);
    } catch (error) {
      await children.endAll();
      throw error;
    }
  }

  /** Makes `count` calls, one after another. */
  async measure(count: number): Promise<Measured> {
    const before = this.#servantsCpu();
    this.#driver.send(count);
    const done = (await said(this.#driver)) as SetUps;
    const servants = this.#servantsCpu() - before;
    return { ...done, allCpuMicros: servants + done.cpuMicros };
  }

  async stop(): Promise<void> {
    // Not `close`: it never comes once the channel was cut from this side.
    const gone = new Promise((resolve) => this.#driver.once('exit', resolve));
    if (this.#driver.connected) {
      this.#driver.disconnect();
      await gone;
    }
    await this.#children.endAll();
  }

  #servantsCpu(): number {
    return this.#servants.reduce((sum, { pid }) => sum + cpuSeconds(pid ?? 0) * 1e6, 0);
  }
}

/** The driver's next word. @throws Error if it ends without one. */
function said(driver: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => reject(new Error('the caller of a version ended'));
    driver.once('exit', onExit);
    driver.once('message', (message) => {
      driver.off('exit', onExit);
      resolve(message);
    });
  });
}
