#!/bin/bash
# Makes the repositories that are not there yet, then serves them until one of the two servers ends.
# Environment: REPOSITORIES, their names; GIT_PROJECT_ROOT, where they lie; PREPARE_ONLY=1 makes them and ends.
set -euo pipefail

files=${GIT_SERVER_FILES:-/etc/git-server}
root=${GIT_PROJECT_ROOT:-/srv/git}
socket=${FCGI_SOCKET:-/tmp/fcgiwrap.sock}
read -ra repositories <<<"${REPOSITORIES:?names the repositories}"

# Every git process of this container reads this file and a repository's own, and no other configuration.
export HOME=/tmp GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=${GIT_CONFIG_GLOBAL:-/tmp/gitconfig}
cat >"$GIT_CONFIG_GLOBAL" <<END
[safe]
  directory = *
[core]
  hooksPath = $files
[http]
  receivepack = true # who may push is the hook's business; without a user nobody gets this far
  getanyfile = false # no dumb protocol
[receive]
  fsckObjects = true
  advertisePushOptions = true
[uploadpack]
  allowFilter = true
[gc]
  auto = 2000
END

for name in "${repositories[@]}"; do
  if [ ! -f "$root/$name.git/HEAD" ]; then
    rm -rf "$root/$name.git.new"
    git init --quiet --bare --initial-branch=main "$root/$name.git.new"
    mv "$root/$name.git.new" "$root/$name.git" # all at once: a half-made repository is never served
  fi
done
# Who pushes what to it is written down here by the hooks, and read over HTTP.
mkdir -p "$root/app.git/slipway"
touch "$root/app.git/slipway/pushes.jsonl"
# A shallow checkout can seed the application's repository; records have no history to leave out.
git --git-dir "$root/app.git" config receive.shallowUpdate true

if [ "${PREPARE_ONLY:-}" = 1 ]; then exit 0; fi

# What the hooks import, compiled once: every push would do that again, and wait for it.
export SLIPWAY_CODE=/tmp/slipway
rm -rf "$SLIPWAY_CODE"
python3 -I -m zipfile -e "$files/slipway.zip" "$SLIPWAY_CODE"
python3 -I -m compileall -q "$SLIPWAY_CODE"

rm -f "$socket"
set -m # a process group each: fcgiwrap's own children end with it
fcgiwrap -f -c "${WORKERS:-8}" -s "unix:$socket" &
backend=$!
nginx -e stderr -c "$files/nginx.conf" -g 'daemon off;' &
front=$!
stop() { # requests under way end first
  kill -QUIT "$front" 2>/dev/null && wait "$front"
  kill -TERM -- "-$backend" 2>/dev/null
  exit 0
}
trap stop TERM INT
wait -n || true # whichever ended, the container goes with it and is started again
kill -TERM -- "-$backend" "-$front" 2>/dev/null || true
exit 1
