// What a lab must undo whatever happens: processes, namespaces, folders. All of it is undone at the
// end of this process, newest first, also when it ends by a signal.

const undos: (() => void)[] = [];
let isWatching = false;

/** Has `undo` called when this process ends. Returns what undoes it now instead, once. */
export function atExit(undo: () => void): () => void {
  if (!isWatching) {
    isWatching = true;
    process.on('exit', () => {
      for (const each of [...undos].reverse()) each();
    });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      // Whoever listens already ends in its own way.
      if (process.listenerCount(signal) === 0) process.once(signal, () => process.exit(130));
    }
  }
  undos.push(undo);
  return () => {
    const at = undos.indexOf(undo);
    if (at < 0) return;
    undos.splice(at, 1);
    undo();
  };
}
