// The caller of one version, in a process of its own: `set-up-driver.js ROOT HOME`, told by
// messages how many calls to make. It uses of that version only what every version has: the agent
// of `ROOT/out/device/agent.js`, which starts, calls and stops.

import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Milliseconds between two calls: the end of a talk is no part of the next one's set-up. */
const PAUSE_MS = 10;

/** What one version's caller measured. */
export interface SetUps {
  /** Milliseconds from asking by name to the address notice, each call. */
  readonly introducedMs: readonly number[];
  /** Milliseconds from asking by name to a proven talk, each call. */
  readonly provenMs: readonly number[];
  /** Microseconds of processor time that the caller took in all. */
  readonly cpuMicros: number;
}

/** The part of a talk that is used here. */
interface Talk {
  readonly ended: Promise<unknown>;
  finish(reason: 'done'): void;
}

/** The part of an agent that every version has. */
interface Caller {
  readonly registered: Promise<void>;
  call(wish: {
    readonly to: string;
    readonly service: string;
    readonly onIntroduced: () => void;
  }): Promise<Talk>;
  stop(): Promise<void>;
}

const [root, home] = process.argv.slice(2);
const caller = await start();
process.on('message', (count: number) => void answer(count));
process.once('disconnect', () => void caller.stop());
process.send?.('ready');

async function start(): Promise<Caller> {
  const load = (file: string): Promise<unknown> =>
    import(pathToFileURL(join(root, 'out', file)).href);
  const [device, log] = await Promise.all([load('device/agent.js'), load('protocol/io/log.js')]);
  const { Agent } = device as { Agent: { start(options: object): Promise<Caller> } };
  const { silentLog } = log as { silentLog: object };
  const agent = await Agent.start({ home, log: silentLog });
  await agent.registered;
  return agent;
}

async function answer(count: number): Promise<void> {
  const before = process.cpuUsage();
  const introducedMs: number[] = [];
  const provenMs: number[] = [];
  for (let at = 0; at < count; at++) {
    const begun = performance.now();
    const onIntroduced = (): void => {
      introducedMs.push(performance.now() - begun);
    };
    const talk = await caller.call({ to: 'CALLEE', service: 'file', onIntroduced });
    provenMs.push(performance.now() - begun);
    talk.finish('done');
    await talk.ended;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  const { user, system } = process.cpuUsage(before);
  const done: SetUps = { introducedMs, provenMs, cpuMicros: user + system };
  process.send?.(done);
}
