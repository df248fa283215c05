#!/bin/sh
# The operator's commands for the server of nakodo-server.service.
NAKODO_HOME=/var/lib/nakodo-server exec /usr/bin/node /opt/nakodo/out/cli/main.js "$@"
