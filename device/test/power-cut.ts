// What is left of a folder when the power goes, after each recorded call and in every way that a
// file system may choose: names that no fsync of their folder has made durable are there or not,
// content that no fsync has made durable is there, gone or torn. Rename is atomic (POSIX).

import { basename, dirname } from 'node:path';
import type { DiskCall } from './disk-record.ts';

/** Files by path. */
export type Files = ReadonlyMap<string, Uint8Array>;

/** One way in which a cut may leave a folder. */
export interface Cut {
  /** Calls that were made. */
  readonly after: number;
  readonly folders: ReadonlySet<string>;
  readonly files: Files;
  /** The same for two that leave the same. */
  readonly key: string;
}

/** How many names that are not durable are tried in every combination; beyond it in order only. */
const COMBINED_MAX = 6;
const TORN = ['whole', 'torn', 'gone'] as const;

type NameCall = Extract<DiskCall, { kind: 'makeFolder' | 'create' | 'rename' | 'link' | 'remove' }>;

/**
 * Every way, each once between two promises: what may be left after the one is less than what may
 * be left after the other.
 */
export function* cuts(calls: readonly DiskCall[]): Generator<Cut> {
  const seen = new Set<string>();
  for (let after = 0; after <= calls.length; after++) {
    const made = calls.slice(0, after);
    if (made.at(-1)?.kind === 'promised') seen.clear();
    for (const names of namesLeft(made)) {
      for (const torn of TORN) {
        const left = contentLeft(made, names, torn);
        const key = keyOf(left);
        if (!seen.has(key)) yield { after, ...left, key };
        seen.add(key);
      }
    }
  }
}

/** The calls on names that took effect: those made durable, and any of the others. */
function* namesLeft(made: readonly DiskCall[]): Generator<readonly NameCall[]> {
  const loose = new Set<NameCall>();
  const names: NameCall[] = [];
  for (const call of made) {
    if (isNameCall(call)) {
      names.push(call);
      loose.add(call);
    } else if (call.kind === 'syncFolder') {
      for (const each of loose) if (dirname(placeOf(each)) === call.path) loose.delete(each);
    }
  }
  const unsure = [...loose];
  if (unsure.length > COMBINED_MAX) {
    for (let kept = 0; kept <= unsure.length; kept++) {
      const gone = new Set(unsure.slice(kept));
      yield names.filter((call) => !gone.has(call));
    }
    return;
  }
  for (let bits = 0; bits < 2 ** unsure.length; bits++) {
    const gone = new Set(unsure.filter((_, at) => (bits & (1 << at)) === 0));
    yield names.filter((call) => !gone.has(call));
  }
}

function contentLeft(
  made: readonly DiskCall[],
  names: readonly NameCall[],
  torn: (typeof TORN)[number],
): { readonly folders: ReadonlySet<string>; readonly files: Files } {
  const whole = new Map<number, Uint8Array>();
  const durable = new Map<number, number>();
  for (const call of made) {
    if (call.kind === 'create') whole.set(call.file, new Uint8Array(0));
    if (call.kind === 'write') {
      const before = whole.get(call.file) ?? new Uint8Array(0);
      whole.set(call.file, Buffer.concat([before, call.bytes]));
    }
    if (call.kind === 'sync') durable.set(call.file, whole.get(call.file)?.length ?? 0);
  }
  const { files, folders } = replay(made, new Set(names));
  const left = new Map<string, Uint8Array>();
  for (const [path, file] of files) {
    const bytes = whole.get(file) ?? new Uint8Array(0);
    const sure = durable.get(file) ?? 0;
    const half = sure + ((bytes.length - sure) >> 1);
    const length = torn === 'whole' ? bytes.length : torn === 'torn' ? half : sure;
    if (folders.has(dirname(path))) left.set(path, bytes.subarray(0, length));
  }
  return { folders, files: left };
}

/** Which inode each name stands for in the end; what is not in `effective` never happened. */
function replay(
  made: readonly DiskCall[],
  effective: ReadonlySet<DiskCall>,
): { readonly files: Map<string, number>; readonly folders: Set<string> } {
  // A rename whose file's first name was lost still names that file.
  const known = new Map<string, number>();
  const files = new Map<string, number>();
  const folders = new Set<string>();
  const isRoot = (path: string): boolean =>
    !made.some((call) => call.kind === 'makeFolder' && call.path === path);
  for (const call of made.filter(isNameCall)) {
    const isLeft = effective.has(call);
    switch (call.kind) {
      case 'makeFolder': {
        const above = dirname(call.path);
        if (isRoot(above)) folders.add(above);
        if (isLeft && folders.has(above)) folders.add(call.path);
        break;
      }
      case 'create':
        known.set(call.path, call.file);
        if (isRoot(dirname(call.path))) folders.add(dirname(call.path));
        if (isLeft) files.set(call.path, call.file);
        break;
      case 'rename':
      case 'link': {
        const file = known.get(call.from);
        if (file === undefined) break;
        known.set(call.to, file);
        if (call.kind === 'rename') known.delete(call.from);
        if (!isLeft) break;
        files.set(call.to, file);
        if (call.kind === 'rename') files.delete(call.from);
        break;
      }
      case 'remove':
        known.delete(call.path);
        if (isLeft) files.delete(call.path);
        break;
    }
  }
  return { files, folders };
}

const isNameCall = (call: DiskCall): call is NameCall =>
  call.kind === 'makeFolder' ||
  call.kind === 'create' ||
  call.kind === 'rename' ||
  call.kind === 'link' ||
  call.kind === 'remove';

const placeOf = (call: NameCall): string => ('to' in call ? call.to : call.path);

const keyOf = ({ folders, files }: Pick<Cut, 'folders' | 'files'>): string =>
  JSON.stringify([
    [...folders].sort(),
    [...files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, bytes]) => [path, String(bytes)]),
  ]);

/** A name that is only there while something is written or changed. */
export const isPassing = (path: string): boolean =>
  basename(path).startsWith('.tmp-') || path.endsWith('.lock');

/**
 * What is wrong with a cut, in words: a file under its final name that holds what it never held, or
 * is older than what somebody was promised. Undefined: nothing.
 */
export function faultIn(calls: readonly DiskCall[], cut: Cut): string | undefined {
  const made = calls.slice(0, cut.after);
  const promisedAt = made.findLastIndex(({ kind }) => kind === 'promised');
  const histories = historiesOf(made, promisedAt);
  for (const path of cut.files.keys()) {
    if (!isPassing(path) && !histories.has(path)) return `${path} is there, and never was`;
  }
  for (const [path, versions] of histories) {
    const found = textOf(cut.files.get(path));
    if (!versions.includes(found)) return `${path} holds ${found ?? 'nothing, it is gone'}`;
  }
  return undefined;
}

/** What each final name may hold: what it held when it was promised last, and everything since. */
function historiesOf(
  made: readonly DiskCall[],
  promisedAt: number,
): ReadonlyMap<string, readonly (string | undefined)[]> {
  const histories = new Map<string, (string | undefined)[]>();
  const content = new Map<number, Buffer>();
  const names = new Map<string, number>();
  const put = (at: number, path: string, text: string | undefined): void => {
    if (isPassing(path)) return;
    const versions = histories.get(path) ?? [undefined];
    if (at <= promisedAt) versions.length = 0;
    versions.push(text);
    histories.set(path, versions);
  };
  for (const [at, call] of made.entries()) {
    if (call.kind === 'create') names.set(call.path, call.file);
    if (call.kind === 'write')
      content.set(call.file, Buffer.concat([content.get(call.file) ?? Buffer.of(), call.bytes]));
    if (call.kind === 'rename' || call.kind === 'link') {
      const file = names.get(call.from);
      if (file === undefined) continue;
      names.set(call.to, file);
      if (call.kind === 'rename') names.delete(call.from);
      put(at, call.to, textOf(content.get(file)));
    }
    if (call.kind === 'remove') {
      names.delete(call.path);
      put(at, call.path, undefined);
    }
  }
  return histories;
}

const textOf = (bytes: Uint8Array | undefined): string | undefined =>
  bytes && Buffer.from(bytes).toString('latin1');
