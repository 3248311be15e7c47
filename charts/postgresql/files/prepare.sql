-- A statement that fails is not logged: the password is in it.
SET log_min_error_statement = panic;
\set password `cat /etc/postgresql-passwords/postgres`
ALTER ROLE postgres PASSWORD :'password';
{{- range .Values.databases }}

\set password `cat /etc/postgresql-passwords/{{ . }}`
SELECT 'CREATE ROLE "{{ . }}"' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{{ . }}') \gexec
ALTER ROLE "{{ . }}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';
SELECT 'CREATE DATABASE "{{ . }}" OWNER "{{ . }}"' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{{ . }}') \gexec
REVOKE ALL ON DATABASE "{{ . }}" FROM PUBLIC;
{{- end }}
