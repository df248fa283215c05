// The papers of the package: control fields, changelog in Debian's form (deb-changelog(5)), and the
// machine-readable copyright (DEP-5).

/** What the control file says beside what never changes. */
interface ControlFacts {
  readonly version: string;
  /** Kibibytes on disk. */
  readonly installedSize: number;
}

const MAINTAINER = 'The nakodo authors <nakodo@localhost>';
/** Node: what the code is written for. systemd: the unit, systemd-notify, systemd-sysusers. */
const DEPENDS = 'nodejs (>= 20.19), systemd (>= 247)';
const LINE_MAX = 76;

/** `DEBIAN/control`. Architecture all: one package for arm64, armhf and amd64. */
export const controlFile = ({ version, installedSize }: ControlFacts): string =>
  `Package: nakodo
Version: ${version}
Section: net
Priority: optional
Architecture: all
Depends: ${DEPENDS}
Suggests: bash-completion, openssh-client
Installed-Size: ${installedSize}
Maintainer: ${MAINTAINER}
Description: terminal that is reachable by name, only by those on its list
 Introduces two terminals by name, only when the callee agrees, for a time and a
 number of bytes; then they talk directly and encrypted: files, remote logins,
 streams and forwarded ports, to a machine that everybody else finds closed.
 .
 This package is the terminal: the agent as a service, and the commands. It does
 nothing before it is enrolled with a ticket of the operator's server.
`;

/** Debian's changelog from the newest part of ours (`## 0.1.0 …`, then `- …` items). */
export function debianChangelog(changelog: string, version: string, date: Date): string {
  const [, newest = ''] = changelog.split(/^## .*$/m);
  const items = newest.replaceAll(/\n(?! *- )\s*/g, ' ').match(/^ *- .*$/gm) ?? [];
  const plain = items.map((item) =>
    item.replace(/^ *- /, '').replaceAll(/[`*]|\]\([^)]*\)|\[/g, ''),
  );
  return [
    `nakodo (${version}) trixie; urgency=medium`,
    '',
    ...plain.flatMap((item) => wrapped(item)),
    '',
    ` -- ${MAINTAINER}  ${date.toUTCString().replace('GMT', '+0000')}`,
    '',
  ].join('\n');
}

/** `copyright`, machine-readable; `license`: the text of ours. */
export function copyrightFile(license: string): string {
  const [, ...text] = license.trimEnd().split('\n\n');
  const body = text.join('\n\n').split('\n');
  return [
    'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/',
    'Upstream-Name: nakodo',
    'Comment: nakodo.cjs holds parts of other programs; their terms stand in LICENSES.gz.',
    '',
    'Files: *',
    'Copyright: 2026 the nakodo authors',
    'License: Expat',
    ...body.map((line) => (line === '' ? ' .' : ` ${line}`)),
    '',
  ].join('\n');
}

function wrapped(item: string): readonly string[] {
  const lines: string[] = [];
  let line = '  *';
  for (const word of item.split(/\s+/)) {
    if (line.length + word.length + 1 > LINE_MAX) {
      lines.push(line);
      line = '   ';
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}
