// What the bundle takes of other people's packages: of MQTT.js the client without its transports,
// as ours brings its own sockets; Node's own streams in place of a copy of them; no parts that
// only a browser or MQTT 5 needs. Modules of Node that an idle agent never uses are required when
// they are first called. A name that is not there any more after an update fails the build.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { OnLoadResult, Plugin } from 'esbuild';

/** In place of a package; what is left out of one says so if it is used after all. */
const REPLACED: Readonly<Record<string, string>> = {
  // The client of MQTT.js, and nothing of how it would connect: WebSocket, SOCKS, TLS by name.
  mqtt: `
    export { default as MqttClient } from 'mqtt/lib/client';
    export { default as Store } from 'mqtt/lib/store';`,
  // READABLE_STREAM=disable does the same to an installed copy.
  'readable-stream': "module.exports = require('node:stream');",
  // Without its addon, which is for servers; the same code else.
  'cbor-x': "export * from 'cbor-x/index.js';",
  // Its output went nowhere.
  debug: 'module.exports = () => Object.assign(() => {}, { enabled: false });',
  // Timers of browsers.
  'worker-timers': leftOut(['setInterval', 'clearInterval']),
  // Topic aliases, which are MQTT 5.
  'lru-cache': leftOut(['LRUCache']),
};

/** Modules of Node that cost milliseconds at start and that an idle agent does without. */
const WHEN_CALLED: readonly string[] = [
  'node:child_process',
  'node:http',
  'node:readline',
  'node:readline/promises',
  'node:timers/promises',
  'node:zlib',
];

const NAMESPACE = 'replaced';

/** The plugin for esbuild. `root`: the checkout, with its node_modules. */
export function packageParts(root: string): Plugin {
  const modules = join(root, 'node_modules');
  return {
    name: 'package-parts',
    setup(build) {
      build.onResolve({ filter: /.*/ }, ({ path, importer, namespace }) => {
        if (namespace === NAMESPACE) {
          // From a replacement to the real thing.
          if (path === 'cbor-x/index.js') return { path: join(modules, path) };
          const inClient = /^mqtt\/lib\/(?<file>.+)$/.exec(path)?.groups?.file;
          if (inClient !== undefined) {
            return { path: join(modules, 'mqtt/build/lib', `${inClient}.js`) };
          }
          return { path, external: true };
        }
        const isReplaced = Object.hasOwn(REPLACED, path) || WHEN_CALLED.includes(path);
        if (isReplaced) return { path, namespace: NAMESPACE };
        // MQTT.js reads its own version out of it.
        if (path.endsWith('/package.json') && importer.startsWith(join(modules, 'mqtt'))) {
          return { path: 'mqtt/package.json', namespace: NAMESPACE };
        }
        return undefined;
      });
      build.onLoad({ filter: /.*/, namespace: NAMESPACE }, ({ path }): OnLoadResult => {
        if (path === 'mqtt/package.json') return { contents: versionOf(join(modules, path)) };
        return { contents: REPLACED[path] ?? whenCalled(path), resolveDir: root };
      });
    },
  };
}

/** A module whose exports throw when they are called. */
function leftOut(names: readonly string[]): string {
  return names
    .map((name) => `export function ${name}() { throw new Error('${name} is not in the bundle'); }`)
    .join('\n');
}

function versionOf(path: string): string {
  const { version } = JSON.parse(readFileSync(path, 'utf8')) as { readonly version: string };
  return `module.exports = ${JSON.stringify({ version })};`;
}

/** The functions of a module of Node, which is required when the first of them is called. */
function whenCalled(name: string): string {
  const module = createRequire(import.meta.url)(name) as Readonly<Record<string, unknown>>;
  return Object.entries(module)
    .filter(([key, value]) => typeof value === 'function' && /^[a-z]/.test(key))
    .map(([key]) => `export const ${key} = (...args) => require('${name}').${key}(...args);`)
    .join('\n');
}
