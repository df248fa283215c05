// Why a file did not pass, in one word on the wire and in two sentences for a person. Both ends
// know the same words; one that we do not know is a file that could not be stored.

import { NakodoError, errorCode } from '../../../protocol/errors.ts';

type Words = readonly [message: string, next: string];

/** Said of one file; others of the same command may still pass. */
const OF_ONE_FILE: Readonly<Record<string, Words>> = {
  'bad-name': [
    'no terminal takes a path like this',
    'rename it: at most 250 bytes a name and 900 in all, no backslash, no control characters',
  ],
  exists: ['there is a file of this name, and its owner wants it kept', 'rename it'],
  'no-overwrite': [
    'there is a file of this name, and its owner lets nobody replace files',
    'leave --overwrite away: it is then saved under a name with a number',
  ],
  'in-the-way': [
    'something else has this name there: a file where a folder should be, or a link',
    'rename it, or choose another folder with --to',
  ],
  'name-taken': ['there are too many files of this name', 'rename it'],
  'too-large': ['it is larger than the other side takes', 'ask its owner to raise file_max'],
  'size-differs': ['what arrived has another size', 'send it again when nothing writes to it'],
  'hash-differs': ['what arrived is not what was sent', 'try again'],
  'file-changed': [
    'it changed, or could not be read on, while it was under way',
    'try again when nothing writes to it any more',
  ],
  'no-such-file': ['there is no such file', 'see what there is: nakodo get NAME'],
  'not-a-file': ['it is no regular file', 'name files and folders'],
  'not-readable': ['the other terminal may not read it', 'ask its owner'],
};

/** Said of one file, and true of every further one. */
const OF_ALL: Readonly<Record<string, Words>> = {
  'disk-full': ['the disk that it goes to is full', 'make room there, then try again'],
  'no-room': [
    'it would leave less room on that disk than its owner wants kept free',
    'make room there, or ask its owner to lower keep_free',
  ],
  'not-stored': ['the other terminal could not store it', 'ask its owner to see the log'],
  'bad-answer': [
    'the other terminal does not speak as this one does',
    'bring both to the same release',
  ],
};

/** Whether an error concerns only the file that it was said of. */
export const isOfOneFile = (code: string): boolean => Object.hasOwn(OF_ONE_FILE, code);

/** The error that one of our codes stands for; `path`: the file, as the person knows it. */
export function transferError(code: string, path: string): NakodoError {
  const known = OF_ONE_FILE[code] ?? OF_ALL[code];
  const [message, next] = known ?? OF_ALL['not-stored'];
  const name = known === undefined ? 'not-stored' : code;
  return new NakodoError(name, `${shown(path)} did not pass: ${message}`, next);
}

/** The code of ours for whatever a disk or a peer did; `otherwise`: for what we do not know. */
export function transferCode(error: unknown, otherwise: string): string {
  const code = errorCode(error);
  if (Object.hasOwn(OF_ONE_FILE, code) || Object.hasOwn(OF_ALL, code)) return code;
  return SYSTEM_CODES[code] ?? otherwise;
}

const SYSTEM_CODES: Readonly<Record<string, string>> = {
  ENOSPC: 'disk-full',
  EDQUOT: 'disk-full',
  EFBIG: 'too-large',
  ENOTDIR: 'in-the-way',
  EISDIR: 'in-the-way',
  ELOOP: 'in-the-way',
  ENAMETOOLONG: 'bad-name',
};

/** What a terminal would act upon. */
const ACTS = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** A path as it may stand in a line: in quotes where it holds what a terminal would act upon. */
export const shown = (path: string): string =>
  path === harmless(path) ? path : JSON.stringify(path).replace(/[^ -~]/gu, '�');

/** A peer's words without what a terminal would act upon. */
export const harmless = (words: string): string => words.replace(ACTS, '�');
