#!/bin/sh
# Start the server with the password from its file. It gets a hash of it, through standard input: nothing to see in the process list, in
# the environment or on a disk, and no letter that would have to be quoted.
set -eu

password=$(cat /etc/valkey-password/password)
[ -n "$password" ] || { echo "The Secret's key password is empty: put a password there." >&2; exit 1; }
hash=$(printf %s "$password" | sha256sum)
exec valkey-server - <<END
$(cat /etc/valkey/valkey.conf)
user default on sanitize-payload #${hash%% *} ~* &* +@all -@admin -@dangerous +info
END
