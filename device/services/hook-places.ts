// How many commands of the owner's run at once: each hook of each agent has so many places, of all
// talks together. Counted before anything is started.

/** Places that are taken, by the agent's home folder and the hook. */
const taken = new Map<string, number>();

/**
 * Takes a place of a hook; undefined: all `most` are taken. What it returns gives the place back,
 * to be called once. `folder`: the agent's home.
 */
export function takePlace(folder: string, hook: string, most: number): (() => void) | undefined {
  const key = `${folder}\n${hook}`;
  const before = taken.get(key) ?? 0;
  if (before >= most) return undefined;
  taken.set(key, before + 1);
  return () => {
    const left = (taken.get(key) ?? 1) - 1;
    if (left > 0) taken.set(key, left);
    else taken.delete(key);
  };
}
