#!/bin/sh
# Start what is named; options or a configuration file alone are the server's.
set -eu

case ${1:-} in
  -* | *.conf) set -- valkey-server "$@" ;;
esac
exec "$@"
