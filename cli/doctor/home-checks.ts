// The doctor looks at what lies in the home: the folder and who may read in it, the identity, the
// allow-list, the settings, the agent that should be running there.

import { type Stats, accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { configReader } from '../../device/services/config.ts';
import { readOwnList } from '../../device/shell/own-list-file.ts';
import { provisioningTrouble } from '../../device/shell/pending.ts';
import type { AllowList } from '../../protocol/consent/allow-list.ts';
import { NakodoError, errorCode } from '../../protocol/errors.ts';
import { SYSTEM_HOME, homeOfAnother, homeWords, shellWord } from '../home.ts';
import {
  type Check,
  type Finding,
  type Patient,
  fail,
  failed,
  ok,
  unchecked,
  warn,
} from './finding.ts';

/** Bits that let others than the owner read or write a file, or anybody a folder. */
const NOT_OWNER = 0o077;
const OTHERS = 0o007;
const OTHERS_WRITE = 0o022;
const PERMISSION_BITS = 0o777;
const NOT_OURS = 'only its owner and the agent may read it';
/** Names of a list that a line holds. */
const NAMES_MAX = 8;
const OCTAL = 8;

/** In the order of the report. */
export const HOME_CHECKS: readonly Check[] = [
  { name: 'home', look: lookAtHome },
  { name: 'identity', look: lookAtIdentity },
  { name: 'agent', look: lookAtAgent },
  { name: 'list', look: lookAtList },
  { name: 'settings', look: lookAtSettings },
];

function lookAtHome({ home, isOwn, agentError, option }: Patient): Finding {
  const folder = factsOf(home.folder);
  if (agentError?.code === 'home-of-another') return failed(agentError);
  if (folder === undefined) {
    const next = `enrol this terminal: nakodo enroll TICKET${homeWords(option)}`;
    return fail(`there is no home ${home.folder}`, next);
  }
  if (!folder.isDirectory()) return fail(`${home.folder} is no folder`, 'choose another --home');
  const mode = modeOf(folder);
  const path = shellWord(home.folder);
  if ((folder.mode & OTHERS) !== 0) {
    return fail(`${home.folder} is open to everybody (${mode})`, `chmod o= ${path}`);
  }
  const secrets = [home.identity, home.enrolment, home.pins, home.approvals];
  for (const secret of secrets) {
    const facts = factsOf(secret);
    if (facts === undefined || (facts.mode & NOT_OWNER) === 0) continue;
    const says = `others than its owner may read or write ${secret} (${modeOf(facts)})`;
    return fail(says, `chmod 600 ${shellWord(secret)}`);
  }
  const list = factsOf(home.list);
  if (list !== undefined && (list.mode & OTHERS_WRITE) !== 0) {
    const says = `others may write ${home.list} (${modeOf(list)}), and so let themselves in`;
    return fail(says, `chmod 600 ${shellWord(home.list)}`);
  }
  return ok(`${home.folder} (${mode}), ${isOwn ? 'ours' : 'through the group of its agent'}`);
}

async function lookAtIdentity(patient: Patient): Promise<Finding> {
  const { home, isOwn, status, identity, enrolment, enrolmentError } = patient;
  if (identity !== undefined && enrolment !== undefined) {
    return ok(`${enrolment.name} (${identity.id}), enrolled at ${enrolment.enrolUrl}`);
  }
  if (!isOwn && status !== undefined) return ok(`${status.name} (${status.id}), says the agent`);
  if (enrolmentError !== undefined) return failed(enrolmentError);
  const trouble = await provisioningTrouble(home.folder).catch(() => undefined);
  if (!isOwn && trouble === undefined) return unchecked(NOT_OURS);
  const enroll = `nakodo enroll TICKET${homeWords(patient.option)}`;
  const next = `ask the operator for a ticket, then: ${enroll}`;
  return fail(trouble ?? 'this terminal is not enrolled', next);
}

function lookAtAgent({ status, agentError, home, option }: Patient): Finding {
  if (status !== undefined) {
    const { talks, questions, troubles, endNotices } = status;
    const trouble = troubles.disk ?? troubles.peer;
    if (trouble !== undefined) return warn(trouble, 'see nakodo status');
    const waiting = questions.length === 0 ? '' : `, ${questions.length} questions wait for you`;
    const ends = endNotices === 0 ? '' : `, ${endNotices} ends not yet told to the server`;
    return ok(`runs, ${talks.length} talks${waiting}${ends}`);
  }
  if (agentError?.code !== 'agent-not-running') {
    return failed(agentError ?? homeOfAnother(home.folder));
  }
  const isService = home.folder === SYSTEM_HOME;
  const how = isService
    ? 'sudo systemctl enable --now nakodo, and journalctl -u nakodo says why it ended'
    : `nakodo agent${homeWords(option)}`;
  return warn('does not run: nobody can reach this terminal', how);
}

async function lookAtList({ home, isOwn, status }: Patient): Promise<Finding> {
  if (!isOwn) {
    const trouble = status?.troubles.list;
    if (trouble !== undefined) return fail(trouble, 'correct it; until then nobody is allowed');
    if (status === undefined) return unchecked(NOT_OURS);
    return ok(`${status.list.entries ?? 0} entries, says the agent: nakodo allowed`);
  }
  try {
    const { list } = await readOwnList(home.list);
    return ok(listWords(list));
  } catch (error) {
    if (error instanceof NakodoError) return failed(error);
    throw error;
  }
}

function listWords({ entries }: AllowList): string {
  const named = (action: 'allow' | 'deny'): readonly string[] =>
    entries.filter((entry) => entry.action === action).map(({ pattern }) => pattern);
  const shown = (names: readonly string[]): string => {
    const more = names.length > NAMES_MAX ? ` and ${names.length - NAMES_MAX} more` : '';
    return `${names.slice(0, NAMES_MAX).join(', ')}${more}`;
  };
  const [allowed, denied] = [named('allow'), named('deny')];
  const refuses = denied.length === 0 ? '' : `; refuses ${shown(denied)}`;
  return allowed.length === 0
    ? `nobody is allowed${refuses} (nakodo allow NAME)`
    : `allows ${shown(allowed)}${refuses}`;
}

function lookAtSettings({ configPath, home, status, isOwn }: Patient): Finding {
  const trouble = status?.troubles.services;
  if (trouble !== undefined) return fail(trouble, 'correct it; until then no service is served');
  if (!isOwn && !canDo(dirname(configPath), constants.X_OK)) return unchecked(NOT_OURS);
  if (factsOf(configPath) === undefined) return ok('none: what is usual holds');
  const read = configReader(configPath)();
  if ('problem' in read) {
    if (!isOwn && !canDo(configPath, constants.R_OK)) return unchecked(NOT_OURS);
    return fail(read.problem, 'correct it; until then no service is served');
  }
  const { file, get, run } = read.config;
  for (const { name, command } of run) {
    const [program] = command.trim().split(/\s/);
    if (canRun(program)) continue;
    return fail(
      `the command of run:${name} cannot be run: ${program}`,
      `chmod +x, or mend ${configPath}`,
    );
  }
  for (const [table, folder] of Object.entries({ file: file.folder, get: get.folder })) {
    if (folder === undefined) continue;
    const next = `${folderMaker(home.folder)} ${shellWord(folder)}, or mend ${configPath}`;
    if (factsOf(folder)?.isDirectory() !== true) {
      return fail(`the folder of [${table}] is not there: ${folder}`, next);
    }
    if (isOwn && table === 'file' && !canDo(folder, constants.W_OK)) {
      return fail(`the agent may not write in the folder of [file]: ${folder}`, next);
    }
  }
  return ok(configPath);
}

/** What makes a folder the agent's, in front of its name. */
const folderMaker = (home: string): string =>
  home === SYSTEM_HOME ? 'sudo install -d -o nakodo -g nakodo' : 'mkdir -p';

function canRun(program: string): boolean {
  try {
    accessSync(program, constants.X_OK);
    return true;
  } catch (error) {
    // In a folder that we may not look into: the agent may.
    return (
      errorCode(error) === 'EACCES' && process.getuid?.() !== 0 && factsOf(program) === undefined
    );
  }
}

function canDo(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

function factsOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

const modeOf = ({ mode }: Stats): string =>
  (mode & PERMISSION_BITS).toString(OCTAL).padStart(4, '0');
