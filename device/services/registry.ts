// Who serves what: each talk that somebody asked for goes to the service of its name. A name that
// nobody here serves is refused stream by stream, so that the caller hears `stream-refused`.

import { fileService } from './file/file-service.ts';
import { getService } from './file/get-service.ts';
import { forwardService } from './forward/services.ts';
import { pingService } from './ping.ts';
import { liveService, pipeService } from './pipe.ts';
import { runService } from './run.ts';
import type { Service } from './service.ts';

/** The everyday services of an agent. A waiting command (`pipe --accept`) comes before them. */
const SERVICES: readonly Service[] = [
  forwardService,
  fileService,
  getService,
  pingService,
  pipeService,
  liveService,
  runService,
];

/** The service that takes talks granted for this name, or undefined. */
export function serviceOf(name: string): Service | undefined {
  return SERVICES.find((service) => service.matches(name));
}
