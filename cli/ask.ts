// How a command asks the agent or the server of its home: over the Unix socket there, never a TCP
// port (design §7). An agent or a server that does not run is said in the words of its side.

import { join } from 'node:path';
import { EXIT, NakodoError, errorCode } from '../protocol/errors.ts';
import { type LocalCallOptions, callLocal } from '../protocol/io/local-socket.ts';
import { homeFolder, shellWord } from './home.ts';

/** File in a terminal's home that its commands talk to. */
export const AGENT_SOCKET = 'agent.sock';
/** File in a server's home that the operator's commands talk to. */
export const SERVER_SOCKET = 'server.sock';

type Answer = Record<string, unknown>;

/**
 * Asks the agent of a terminal's home.
 * @throws NakodoError `agent-not-running` (exit 5), and what the agent answers.
 */
export async function askAgent(
  option: string | undefined,
  request: object,
  options: LocalCallOptions = {},
): Promise<Answer> {
  const home = homeFolder(option);
  return ask(join(home, AGENT_SOCKET), request, options, () => agentNotRunning(home));
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
  return ask(join(home, SERVER_SOCKET), request, options, () => notRunning);
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
export function agentNotRunning(home: string): NakodoError {
  return new NakodoError(
    'agent-not-running',
    `no agent is running in ${home}`,
    `start it: nakodo agent --home ${shellWord(home)} — or name another home with --home DIR`,
    EXIT.unreachable,
  );
}

async function ask(
  path: string,
  request: object,
  options: LocalCallOptions,
  notRunning: () => NakodoError,
): Promise<Answer> {
  try {
    return await callLocal(path, request, options);
  } catch (error) {
    throw errorCode(error) === 'not-running' ? notRunning() : error;
  }
}
