// Names and IDs as people type them: refused here, before anybody is asked, with what a name may
// hold (patent ¶0024: e-mail addresses will do).

import { EXIT, NakodoError } from '../protocol/errors.ts';
import { type DeviceId, type Name, isDeviceId, isName } from '../protocol/ids.ts';

/** The text as a terminal's name (patent ¶0024). @throws NakodoError `bad-name` (exit 2). */
export function terminalName(text: string): Name {
  if (isName(text)) return text;
  throw new NakodoError(
    'bad-name',
    `${shown(text)} is not a terminal's name`,
    'a name has 1 to 64 letters, digits and . _ @ + - and begins with a letter or digit',
    EXIT.usage,
  );
}

/** The text as a terminal's device ID. @throws NakodoError `bad-id` (exit 2). */
export function terminalId(text: string): DeviceId {
  if (isDeviceId(text)) return text;
  throw new NakodoError(
    'bad-id',
    `${shown(text)} is not a terminal's ID`,
    'an ID has 32 characters a-z and 2-7: see `nakodo status` there',
    EXIT.usage,
  );
}

/** What somebody typed, safe to be shown. */
const shown = (text: string): string => `'${text.replace(/\p{C}/gu, '?')}'`;
