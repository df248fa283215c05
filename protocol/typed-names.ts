// Names and IDs as people type them: refused here, before anybody is asked, with what a name may
// hold (patent ¶0024: e-mail addresses will do).

import { EXIT, NakodoError } from './errors.ts';
import { type DeviceId, type Name, isDeviceId, isName } from './ids.ts';

/** The text as a terminal's name (patent ¶0024). @throws NakodoError `bad-name` (exit 2). */
export function terminalName(text: string): Name {
  if (isName(text)) return text;
  const rule = 'a name has 1 to 64 letters, digits and . _ @ + - and begins with a letter or digit';
  throw refusal('bad-name', text, 'name', rule);
}

/** The text as a terminal's device ID. @throws NakodoError `bad-id` (exit 2). */
export function terminalId(text: string): DeviceId {
  if (isDeviceId(text)) return text;
  const rule = 'an ID has 32 characters a-z and 2-7: see `nakodo status` there';
  throw refusal('bad-id', text, 'ID', rule);
}

function refusal(code: string, text: string, what: string, rule: string): NakodoError {
  // What somebody typed, safe to be shown.
  const shown = text.replace(/\p{C}/gu, '?');
  return new NakodoError(code, `'${shown}' is not a terminal's ${what}`, rule, EXIT.usage);
}
