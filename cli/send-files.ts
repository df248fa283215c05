// One file of `send` over a talk: opened when its turn comes, offered, given, closed. What the
// source's end of the protocol is to a command (device/services/file/source.ts).

import { DiskContent } from '../device/services/file/disk-content.ts';
import { giveFile, offerFolder } from '../device/services/file/source.ts';
import { StreamReader } from '../device/services/file/stream-reader.ts';
import { encodeOffer } from '../device/services/file/wire.ts';
import { Pacer } from './pacer.ts';
import type { CommandTalk } from './talk.ts';
import type { FileMeter } from './transfer-progress.ts';
import type { PlannedFile } from './user-files.ts';

/** How files are sent. */
interface SendWishes {
  readonly resumes: boolean;
  readonly replaces: boolean;
  readonly bytesPerSecond: number | undefined;
}

/** Makes what sends one file, or makes one empty folder [S1005]; resolves when it is there. */
export function fileSender({
  bytesPerSecond,
  ...wishes
}: SendWishes): (talk: CommandTalk, file: PlannedFile, meter: FileMeter) => Promise<object> {
  const pacer = bytesPerSecond === undefined ? undefined : new Pacer(bytesPerSecond);
  return async (talk, file, meter) => {
    const { path, kind } = file;
    if (kind === 'folder') {
      const about = { path, size: 0, modified: 0, isExecutable: false, ...wishes };
      const stream = await talk.openStream(encodeOffer({ kind, ...about }));
      return offerFolder(stream, new StreamReader(stream), path);
    }
    const content = await DiskContent.open(file.root, file.local);
    try {
      if (pacer !== undefined) content.chunkBytes = pacer.pieceBytes;
      const { size, modified, isExecutable } = content;
      const about = { path, size, modified, isExecutable, ...wishes };
      const stream = await talk.openStream(encodeOffer({ kind, ...about }));
      const given = giveFile(stream, new StreamReader(stream), content, {
        path,
        resumes: wishes.resumes,
        onBytes: meter.add,
        pace: pacer === undefined ? undefined : (bytes) => pacer.spend(bytes),
      });
      return await given.finally(() => stream.destroy());
    } finally {
      await content.close();
    }
  };
}
