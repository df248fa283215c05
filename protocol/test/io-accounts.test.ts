// Names of users and groups as /etc/group and /etc/passwd have them: root is in both everywhere,
// and what is in neither is its number.

import t from 'tap';
import { groupName, groupNumber, userName } from '../io/accounts.ts';

t.test('root is known by name and number, who is nowhere by number alone', async (t) => {
  t.equal(groupNumber('root'), 0);
  t.equal(groupName(0), 'root');
  t.equal(userName(0), 'root');
  t.equal(groupNumber('31100'), 31_100, 'a number written out is one');
  t.equal(groupName(4_000_000_001), '4000000001');
  t.equal(userName(4_000_000_001), '4000000001');
});

t.test('what is no group is none', async (t) => {
  for (const name of ['', 'no-such-group', 'root:x', '-1', '4294967295', '99999999999', ' root']) {
    t.equal(groupNumber(name), undefined, JSON.stringify(name));
  }
});
