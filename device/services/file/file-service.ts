// The service `file` at the callee [S4005]: what peers send lands in the owner's folder, by the
// owner's rules (`[file]` of agent.toml; docs/services.md).

import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { decodeCbor } from '../../../protocol/control/cbor.ts';
import { errorCode } from '../../../protocol/errors.ts';
import type { Log } from '../../../protocol/io/log.ts';
import type { Session } from '../../shell/session.ts';
import type { TalkStream } from '../../shell/talk-stream.ts';
import type { ServicesConfig } from '../config.ts';
import type { Service } from '../service.ts';
import type { LandingRules } from './arrival.ts';
import { FairTurns } from './fair-turns.ts';
import { Landing } from './landing.ts';
import { FILE_LIMITS } from './limits.ts';
import { FILE_SERVICE } from './names.ts';
import { Room } from './room.ts';
import { refuse, takeFile } from './sink.ts';
import { StreamReader } from './stream-reader.ts';
import { frame, offer, reply } from './wire.ts';

/** What an agent's inbox is for others on the same machine. */
const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;
/** The same where a group may use the commands: what was sent to them they may read. */
const SHARED_FILE_MODE = 0o640;
const SHARED_FOLDER_MODE = 0o750;
const INBOX = 'inbox';

const room = new Room();
const turns = new FairTurns();

/** Files for this terminal's inbox. */
export const fileService: Service = {
  matches: (name) => name === FILE_SERVICE,
  serve: (session, { home, log, config }) => {
    receiveFiles(session, inboxRules(home.folder, config), log);
  },
};

/** Makes the inbox of an agent that starts, and takes away what was left there long ago. */
export async function openInbox(home: string, config: ServicesConfig, log: Log): Promise<void> {
  try {
    await new Landing(inboxRules(home, config), room).clean();
  } catch (error) {
    // Who sends a file hears of it, and the owner here.
    log.warn('inbox-not-ready', { code: errorCode(error) });
  }
}

/** The rules of an inbox: `inbox/` of the home, unless its owner says otherwise. */
export function inboxRules(home: string, { agent, file }: ServicesConfig): LandingRules {
  const isShared = agent.socket_group !== undefined;
  return {
    folder: file.folder ?? join(home, INBOX),
    overwrite: file.overwrite,
    fileMax: file.file_max,
    keepFree: file.keep_free,
    fileMode: isShared ? SHARED_FILE_MODE : FILE_MODE,
    folderMode: isShared ? SHARED_FOLDER_MODE : FOLDER_MODE,
  };
}

/** Takes the files that a peer sends in one talk [S4005]: all streams of it. */
export function receiveFiles(session: Session, rules: LandingRules, log: Log): void {
  const landing = new Landing(rules, room);
  const { id } = session.info.peer;
  turns.serve(session, {
    streams: FILE_LIMITS.streamsAtOnce,
    work: (stream) => receiveOne(stream, landing, id),
    log,
    trouble: 'file-not-received',
  });
}

async function receiveOne(stream: TalkStream, landing: Landing, peer: string): Promise<void> {
  const wanted = decodeCbor(offer, stream.parameters);
  if (wanted === undefined) {
    refuse(stream, 'bad-name');
  } else if (wanted.kind === 'folder') {
    await makeOne(stream, landing, wanted.path);
  } else {
    await takeFile(stream, new StreamReader(stream), landing, { ...wanted, peer });
  }
}

async function makeOne(stream: Duplex, landing: Landing, path: string): Promise<void> {
  try {
    await landing.folder(path);
    stream.end(frame(reply, { code: 'ok', savedAs: path }));
    stream.resume();
  } catch (error) {
    refuse(stream, errorCode(error));
    throw error;
  }
}
