// Names as people type them: refused here, before anybody is asked, with what a name may hold
// (patent ¶0024: e-mail addresses will do).

import { EXIT, NakodoError } from '../protocol/errors.ts';
import { type Name, isName } from '../protocol/ids.ts';

/** The text as a terminal's name (patent ¶0024). @throws NakodoError `bad-name` (exit 2). */
export function terminalName(text: string): Name {
  if (isName(text)) return text;
  throw new NakodoError(
    'bad-name',
    `'${text.replace(/\p{C}/gu, '?')}' is not a terminal's name`,
    'a name has 1 to 64 letters, digits and . _ @ + - and begins with a letter or digit',
    EXIT.usage,
  );
}
