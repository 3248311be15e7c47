#!/bin/sh
# Start PostgreSQL; an empty data folder becomes a cluster first, with the user, password and database that the environment names.
set -eu

if [ "${1#-}" != "$1" ]; then
  set -- postgres "$@"
fi
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
  fi
  : "${POSTGRES_PASSWORD:?is not set: it becomes the password of the first user}"
  # Made elsewhere and moved, PG_VERSION last. Where an earlier start was interrupted, all that lies here is its leavings.
  new=$PGDATA/.new
  if [ -e "$new" ]; then
    find "$PGDATA" -mindepth 1 -delete
  fi
  file=$(mktemp)
  printf '%s\n' "$POSTGRES_PASSWORD" >"$file"
  mkdir "$new"
  initdb --pgdata="$new" --username="$user" --pwfile="$file" --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8
  rm -f "$file"
  echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
  echo "listen_addresses = '*'" >>"$new/postgresql.conf"
  if [ "$database" != postgres ]; then
    printf 'CREATE DATABASE "%s" OWNER "%s";\n' "$database" "$user" | postgres --single -D "$new" postgres >/dev/null
  fi
  for entry in "$new"/*; do
    [ "$(basename "$entry")" = PG_VERSION ] || mv "$entry" "$PGDATA/"
  done
  mv "$new/PG_VERSION" "$PGDATA/"
  rmdir "$new"
fi
exec "$@"
