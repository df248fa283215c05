#!/bin/sh
exec /usr/bin/node @NODE_FLAGS@ /usr/lib/nakodo/nakodo.cjs "$@"
