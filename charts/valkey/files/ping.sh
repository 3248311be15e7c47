#!/bin/sh
# Whether the server has read its log and answers.
set -eu
VALKEYCLI_AUTH=$(cat /etc/valkey-password/password)
export VALKEYCLI_AUTH REDISCLI_AUTH="$VALKEYCLI_AUTH"
[ "$(valkey-cli -t 2 ping)" = PONG ]
