// `nakodo demo`: the whole story on real sockets, in under a minute, for somebody who has just
// cloned the repository.

import { join } from 'node:path';
import { Argument, type Command } from 'commander';
import { declare, runs } from './command.ts';

/** Adds `demo`. */
export function declareDemo(program: Command): void {
  const demo = declare(program, {
    usage: 'demo',
    summary: 'Watch the whole story happen on this machine, in under a minute.',
    details:
      'A broker, a session manager and three terminals start as processes of their own; a\n' +
      'stranger is refused, a file arrives, and talks end in every way. Nothing stays behind.',
    home: 'of no effect: the demo makes homes of its own and removes them',
    examples: ['nakodo demo', 'nakodo demo holiday.mp4 --json'],
  });
  demo.addArgument(
    new Argument('[file]', 'what to send; a file of 32 MB is made if you name none'),
  );
  runs<object>(demo, async (output, _options, [file]) => {
    const { runDemo } = await import('../demo/run.ts');
    return runDemo(output, { program: join(import.meta.dirname, '..', 'main.js'), file });
  });
}
