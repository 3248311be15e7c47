#!/bin/sh
# Make the data folder ready before the server starts: a cluster, its roles and databases. Each start does only what is missing.
set -eu

for file in /etc/postgresql-passwords/*; do
  [ -s "$file" ] || { echo "The Secret's key $(basename "$file") is empty: put a password there." >&2; exit 1; }
done

if [ ! -d "$PGDATA" ]; then
  # Made beside its place, safe on the disk, then renamed: an interrupted start never leaves half a cluster.
  rm -rf "$PGDATA.new"
  # Collation by PostgreSQL itself, so that indices stay right when the image's C library is another one.
  initdb --pgdata="$PGDATA.new" --username=postgres --auth-local=peer --auth-host=reject --encoding=UTF8 \
    --locale=C.UTF-8 --locale-provider=builtin --data-checksums --no-instructions
  mv "$PGDATA.new" "$PGDATA"
  sync "$(dirname "$PGDATA")"
fi
# Some volumes' drivers open every folder to the group, and PostgreSQL refuses that.
chmod 0700 "$PGDATA"

# A server that only this container reaches.
pg_ctl start --pgdata="$PGDATA" --silent --wait --timeout=600 \
  --options="-c config_file=/etc/postgresql/postgresql.conf -c listen_addresses=''"
trap 'pg_ctl stop --pgdata="$PGDATA" --silent --wait --mode=fast' EXIT
psql --no-psqlrc --quiet --host=/var/run/postgresql --username=postgres --dbname=postgres --set=ON_ERROR_STOP=1 --file=/etc/postgresql/prepare.sql
