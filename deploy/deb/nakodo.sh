#!/bin/sh
exec /usr/bin/node /usr/lib/nakodo/nakodo.cjs "$@"
