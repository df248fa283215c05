// Overwrites a ticket wherever cloud-init has copied it, in place and with as many characters: what
// holds it (YAML, JSON, a pickle) stays what it was. Flash memory may keep the old page, as with
// every file on a card; a ticket of one use is worth nothing by then.

import { lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '../../protocol/errors.ts';
import { removedTicket } from './provision-file.ts';

/** Files that are looked into, so deep below the folders named. */
const FILES_MAX = 4_096;
const DEPTH_MAX = 6;
/** Bytes of a file that is looked into: cloud-init's have some ten thousand. */
const FILE_BYTES_MAX = 16 * 1024 * 1024;

/**
 * Overwrites the ticket in these files, and in those in these folders, durably; links are not
 * followed, and what is not there or cannot be written is left out. Returns the files it changed.
 */
export async function scrub(paths: readonly string[], ticket: string): Promise<readonly string[]> {
  const changed: string[] = [];
  for (const path of await filesIn(paths)) {
    if (await overwrite(path, ticket)) changed.push(path);
  }
  return changed;
}

async function filesIn(paths: readonly string[]): Promise<readonly string[]> {
  const files: string[] = [];
  let level = paths;
  for (let depth = 0; depth <= DEPTH_MAX && level.length > 0; depth++) {
    const below: string[] = [];
    for (const path of level) {
      const facts = await lstat(path).catch(() => undefined);
      if (facts?.isDirectory() === true) {
        below.push(...(await readdir(path)).map((name) => join(path, name)));
      } else if (facts?.isFile() === true && facts.size <= FILE_BYTES_MAX) files.push(path);
      if (files.length >= FILES_MAX) return files;
    }
    level = below;
  }
  return files;
}

async function overwrite(path: string, ticket: string): Promise<boolean> {
  try {
    const file = await open(path, 'r+');
    try {
      const content = await file.readFile();
      const found = placesOf(content, ticket);
      for (const at of found) await file.write(removedTicket(ticket.length), at, 'latin1');
      if (found.length > 0) await file.sync();
      return found.length > 0;
    } finally {
      await file.close();
    }
  } catch (error) {
    const code = errorCode(error);
    if (code === 'EROFS' || code === 'EACCES' || code === 'ENOENT') return false;
    throw error;
  }
}

function placesOf(content: Buffer, ticket: string): readonly number[] {
  const places: number[] = [];
  let at = content.indexOf(ticket, 0, 'latin1');
  while (at >= 0) {
    places.push(at);
    at = content.indexOf(ticket, at + ticket.length, 'latin1');
  }
  return places;
}
