// How a command asks the agent or the server of its home: over the Unix socket there, never a TCP
// port (design §7). An agent or a server that does not run is said in the words of its side.

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT, NakodoError, errorCode } from '../protocol/errors.ts';
import { type LocalCallOptions, callLocal } from '../protocol/io/local-socket.ts';
import {
  SYSTEM_HOME,
  agentNotForUs,
  homeFolder,
  homeOfAnother,
  shellWord,
  terminalFolder,
} from './home.ts';

/** File in a terminal's home that its commands talk to. */
export const AGENT_SOCKET = 'agent.sock';
/** File in a server's home that the operator's commands talk to. */
export const SERVER_SOCKET = 'server.sock';

type Answer = Record<string, unknown>;

/**
 * Asks the agent of a terminal's home.
 * @throws NakodoError `agent-not-running` (exit 5), `home-of-another`, and what the agent answers.
 */
export async function askAgent(
  option: string | undefined,
  request: object,
  options: LocalCallOptions = {},
): Promise<Answer> {
  const home = terminalFolder(option);
  try {
    return await callLocal(join(home, AGENT_SOCKET), request, options);
  } catch (error) {
    throw agentError(error, option);
  }
}

/** What a call to the agent of `--home` failed with, in the words of a terminal. */
export function agentError(error: unknown, option: string | undefined): unknown {
  const home = terminalFolder(option);
  if (errorCode(error) === 'not-for-us') return homeOfAnother(home);
  if (errorCode(error) !== 'not-running') return error;
  return agentNotForUs(option) ?? agentNotRunning(home);
}

/**
 * Asks the server of an operator's home.
 * @throws NakodoError `server-not-running` (exit 5), and what the server answers.
 */
export async function askServer(
  option: string | undefined,
  request: object,
  options: LocalCallOptions = {},
): Promise<Answer> {
  const home = homeFolder(option);
  const notRunning = new NakodoError(
    'server-not-running',
    `no server is running in ${home}`,
    `start it: nakodo serve --home ${shellWord(home)} — or name another one with --home DIR`,
    EXIT.unreachable,
  );
  try {
    return await callLocal(join(home, SERVER_SOCKET), request, options);
  } catch (error) {
    throw errorCode(error) === 'not-running' ? notRunning : error;
  }
}

/** Asks the server for a list; its rows in their order, collected. */
export async function askServerRows<Row>(
  option: string | undefined,
  request: object,
): Promise<readonly Row[]> {
  const chunks: Uint8Array[] = [];
  await askServer(option, request, { onData: (bytes) => void chunks.push(Uint8Array.from(bytes)) });
  const lines = Buffer.concat(chunks).toString('utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Row);
}

/** The error for a command that needs the agent. */
function agentNotRunning(home: string): NakodoError {
  const isService = home === SYSTEM_HOME;
  const how = isService ? 'sudo systemctl start nakodo' : `nakodo agent --home ${shellWord(home)}`;
  const next = isUnnamed(home)
    ? `a ticket of the operator's gives this terminal its name: nakodo enroll TICKET; then ${how}`
    : `start it: ${how}`;
  return new NakodoError(
    'agent-not-running',
    `no agent is running in ${home}`,
    `${next} — or name another home with --home DIR`,
    EXIT.unreachable,
  );
}

/** Nothing enrolled here, and its agent would not start; false where we may not look. */
function isUnnamed(home: string): boolean {
  try {
    readdirSync(home);
  } catch (error) {
    return errorCode(error) === 'ENOENT';
  }
  return !existsSync(join(home, 'enrolment.json'));
}
