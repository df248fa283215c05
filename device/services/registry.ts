// Who serves what: each talk that somebody asked for goes to the service of its name. A name that
// nobody here serves is refused stream by stream, so that the caller hears `stream-refused`.

import { fileService } from '../shell/file-service.ts';
import { pingService } from './ping.ts';
import type { Service } from './service.ts';

/** The everyday services of an agent. A waiting command (`pipe --accept`) comes before them. */
const SERVICES: readonly Service[] = [fileService, pingService];

/** The service that takes talks granted for this name, or undefined. */
export function serviceOf(name: string): Service | undefined {
  return SERVICES.find((service) => service.matches(name));
}
