// The operator's way into a running server: the manager's operations behind the Unix socket of its
// home. Lists go out as lines of JSON, at the reader's pace, since a result holds 64 KiB at most.

import { join } from 'node:path';
import * as v from 'valibot';
import { EXIT, NakodoError } from '../protocol/errors.ts';
import { type LocalServer, type ServedChannel, serveLocal } from '../protocol/io/local-socket.ts';
import type { Operations } from '../session-manager/shell/operations.ts';
import { SERVER_SOCKET } from './ask.ts';

/** Owner only; packages widen it with a group of their own. */
const SOCKET_MODE = 0o600;
/** Most entries of one `log`, and most that a number of uses or seconds may be. */
const COUNT_MAX = Number.MAX_SAFE_INTEGER;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(COUNT_MAX));
const request = v.variant('op', [
  v.strictObject({
    op: v.literal('ticket'),
    name: v.optional(v.string()),
    uses: count,
    forSeconds: count,
  }),
  v.strictObject({ op: v.literal('devices') }),
  v.strictObject({ op: v.literal('sessions'), all: v.boolean() }),
  v.strictObject({ op: v.literal('watch') }),
  v.strictObject({ op: v.literal('end'), session: v.string() }),
  v.strictObject({ op: v.literal('revoke'), name: v.string() }),
  v.strictObject({ op: v.literal('log'), last: count }),
  v.strictObject({ op: v.literal('exportLog'), use: v.picklist(['head', 'archive']) }),
  v.strictObject({ op: v.literal('archived'), sequence: count, hash: v.string() }),
]);
type Request = v.InferOutput<typeof request>;

/** The operations of the manager, once it has started. */
export interface Serving {
  operations: Operations | undefined;
}

/**
 * Serves the operator of a home. It comes before the store is opened: who holds the socket is the
 * one server of that home.
 * @throws NakodoError `already-running`, `socket-path-too-long`.
 */
export function serveOperator(home: string, serving: Serving): Promise<LocalServer> {
  return serveLocal(join(home, SERVER_SOCKET), {
    mode: SOCKET_MODE,
    handle: async (raw, channel) => {
      const parsed = v.safeParse(request, raw);
      if (!parsed.success) throw badRequest(parsed.issues[0].message);
      if (serving.operations === undefined) throw starting();
      return answer(serving.operations, parsed.output, channel);
    },
  });
}

async function answer(
  operations: Operations,
  asked: Request,
  channel: ServedChannel,
): Promise<object> {
  switch (asked.op) {
    case 'ticket':
      return operations.ticket(asked);
    case 'devices':
      return writeRows(channel, operations.devices());
    case 'sessions':
      return writeRows(channel, await operations.sessions({ all: asked.all }));
    case 'watch':
      return watch(operations, channel);
    case 'end':
      return operations.end(asked.session);
    case 'revoke':
      // As a row: one terminal may have more talks than a result holds.
      return writeRows(channel, [await operations.revoke(asked.name)]);
    case 'log':
      return writeRows(channel, await operations.log({ limit: asked.last }));
    case 'exportLog':
      for await (const text of operations.exportLog(asked.use)) {
        await channel.write(Buffer.from(text));
      }
      return {};
    case 'archived':
      return operations.archived(asked);
  }
}

async function writeRows(channel: ServedChannel, rows: readonly object[]): Promise<object> {
  for (const row of rows) await channel.write(Buffer.from(`${JSON.stringify(row)}\n`));
  return { rows: rows.length };
}

/** Tells of the talks that are under way, then of every turn; answers when the watcher has gone. */
async function watch(operations: Operations, channel: ServedChannel): Promise<object> {
  const stop = operations.watch((event) => channel.event(event));
  try {
    for (const session of await operations.sessions({ all: false })) {
      channel.event({ event: 'live', session });
    }
    await new Promise<void>((resolve) => {
      if (channel.closed.aborted) resolve();
      else channel.closed.addEventListener('abort', () => resolve(), { once: true });
    });
  } finally {
    stop();
  }
  return {};
}

const starting = (): NakodoError =>
  new NakodoError('starting', 'the server is still starting', 'try again in a moment');

const badRequest = (why: string): NakodoError =>
  new NakodoError(
    'bad-request',
    `the server does not understand this request: ${why}`,
    'bring the command and the server to the same release',
    EXIT.usage,
  );
