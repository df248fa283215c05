// A town (sim/fleet/town.ts) as the tests of the terminal want it: terminals by name, two that are
// ready to talk, content in pieces.

import { join } from 'node:path';
import type { Test } from 'tap';
import { type Town, allowing, openTown } from '../../sim/fleet/town.ts';
import type { Agent, AgentOptions } from '../agent.ts';
import { takeFiles } from './sending.ts';
import type { Session } from '../shell/session.ts';

/** An allow-list file that allows TERM1 everything. */
export const ALLOW_TERM1 = allowing('TERM1');

/** A town whose terminals are known by their names, closed at the end of the test. */
export class RealWorld {
  readonly #town: Town;

  private constructor(town: Town) {
    this.#town = town;
  }

  static async start(test: Test): Promise<RealWorld> {
    const town = await openTown({ apart: true });
    test.teardown(() => town.close());
    return new RealWorld(town);
  }

  get broker(): Town['broker'] {
    return this.#town.broker;
  }

  get manager(): Town['manager'] {
    return this.#town.manager;
  }

  home(name: string): string {
    return join(this.#town.folder, name);
  }

  /** Enrols a terminal by ticket; `list`: its allow-list file. */
  async enrol(name: string, list: string = ''): Promise<void> {
    await this.#town.enrol(name, list);
  }

  async setList(name: string, list: string): Promise<void> {
    await this.#town.allow(this.home(name), list);
  }

  /** Starts an enrolled terminal; stopped before the servers. */
  async agent(name: string, options: Partial<AgentOptions> = {}): Promise<Agent> {
    return this.#town.begin(this.home(name), options);
  }
}

/** Two registered terminals; TERM3 has this list, and takes no talks yet. */
export async function registeredPair(
  test: Test,
  list: string = ALLOW_TERM1,
  options: Partial<AgentOptions> = {},
): Promise<{ world: RealWorld; caller: Agent; callee: Agent }> {
  const world = await RealWorld.start(test);
  await world.enrol('TERM1');
  await world.enrol('TERM3', list);
  const caller = await world.agent('TERM1', { udpBind: '127.0.1.1', ...options });
  const callee = await world.agent('TERM3', { udpBind: '127.0.3.1', ...options });
  await Promise.all([caller.registered, callee.registered]);
  return { world, caller, callee };
}

/** The same, and TERM3 takes files. */
export async function pair(
  test: Test,
  list?: string,
  options?: Partial<AgentOptions>,
): Promise<{ world: RealWorld; caller: Agent; callee: Agent; incoming: Session[] }> {
  const { world, caller, callee } = await registeredPair(test, list, options);
  const incoming: Session[] = [];
  callee.onIncoming((session) => {
    incoming.push(session);
    takeFiles(session, callee);
  });
  return { world, caller, callee, incoming };
}

/** The content in pieces, as a file is read. */
export async function* pieces(content: Uint8Array, size = 60_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += size) yield content.subarray(at, at + size);
}
